"""What a detector must beat to earn its place: two classifiers fitted on the same rows.

TF-IDF of words and pairs of words, and the mean of the unchanged model's last activation; each with
logistic regression. Both score attacks of the default policy against benign texts.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from worker.errors import InvalidField, MissingExtra
from worker.fitting.activations import mean_activations
from worker.fitting.dataset import LabelledText
from worker.fitting.fit import Progress
from worker.fitting.measure import ranking
from worker.model.hub import ModelFiles
from worker.model.torch_encoder import TruncatedModel
from worker.model.windows import WindowTokenizer
from worker.screening.policy import Policy

Scores = npt.NDArray[np.float64]


def counts_as_attack(row: LabelledText) -> bool:
    """Tell whether the default policy looks for the row's signal."""
    return row.label == 1 and row.signal in Policy().signals


class Baseline(Protocol):
    """A fitted detector to compare with."""

    name: str

    def score(self, texts: Sequence[str]) -> Scores:
        """Return a score for every text, float64 ``(n_texts,)``; higher is more suspicious."""
        ...


class TfIdfBaseline:
    """TF-IDF (1,2)-grams and logistic regression."""

    name = "TF-IDF + LR"

    def __init__(self, train: Sequence[LabelledText]):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        rows = [row for row in train if row.label == 0 or counts_as_attack(row)]
        self._model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=300_000),
            LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000),
        )
        self._model.fit([row.text for row in rows], [int(row.label or 0) for row in rows])

    def score(self, texts: Sequence[str]) -> Scores:
        """See ``Baseline.score``."""
        return np.asarray(self._model.decision_function(list(texts)), dtype=np.float64)


class MeanPooledBaseline:
    """Mean of the unchanged model's deepest activation and logistic regression.

    Args:
        encode: Means of texts.
        train: Labelled rows with signals.
        every: Every so many rows are fitted on: a linear model of 384 numbers does not gain from all of many
            thousands, and they cost minutes.
    """

    name = "mean-pooled + LR"

    def __init__(self, encode: "MeanActivations", train: Sequence[LabelledText], every: int = 3):
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows = [row for row in train if row.label == 0 or counts_as_attack(row)][::every]
        self._encode = encode
        self._model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
        self._model.fit(encode([row.text for row in rows]), [int(row.label or 0) for row in rows])

    def score(self, texts: Sequence[str]) -> Scores:
        """See ``Baseline.score``."""
        return np.asarray(self._model.decision_function(self._encode(texts)), dtype=np.float64)


class MeanActivations:
    """Means of texts' first windows; kept in memory, and on disk by the texts' hash.

    Args:
        model: The truncated model.
        tokenizer: Its tokenizer.
        cache: Directory.
        progress: Opens progress bars.
    """

    def __init__(self, model: TruncatedModel, tokenizer: WindowTokenizer, cache: Path, progress: Progress):
        self._model, self._tokenizer, self._cache, self._progress = model, tokenizer, cache, progress
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the means, float32 ``(n_texts, hidden)``; zeros for a text without tokens."""
        unknown = [text for text in dict.fromkeys(texts) if text not in self._known]
        if unknown:
            self._known.update(zip(unknown, self._means(unknown), strict=True))
        return np.stack([self._known[text] for text in texts])

    def _means(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        digest = hashlib.sha256(f"{self._model.layers}{self._tokenizer.sha256}".encode())
        for text in texts:
            digest.update(text.encode() + b"\x00")
        path = self._cache / f"means-{digest.hexdigest()[:24]}.npy"
        if path.is_file():
            kept: Any = np.load(path, allow_pickle=False)
            return np.asarray(kept, dtype=np.float32)
        windows = [self._tokenizer.windows(t.ids)[:1] for t in self._tokenizer.tokenize(texts)]
        flat = [window for found in windows for window in found]
        means = mean_activations(self._model, flat, self._progress("mean activations", len(flat)))
        result = np.zeros((len(texts), self._model.hidden), dtype=np.float32)
        result[[bool(found) for found in windows]] = means
        self._cache.mkdir(parents=True, exist_ok=True)
        np.save(path, result, allow_pickle=False)
        return result


def fit_baselines(
    files: ModelFiles,
    tokenizer: WindowTokenizer,
    layer: int,
    train: Sequence[LabelledText],
    cache: Path,
    progress: Progress,
) -> list[Baseline]:
    """Fit both.

    Args:
        files: The model whose activations are averaged.
        tokenizer: Its tokenizer.
        layer: The layer, 1-based.
        train: Labelled rows with signals.
        cache: Directory for mean activations.
        progress: Opens progress bars.

    Raises:
        InvalidField: The rows are all benign, or all attacks.
        MissingExtra: scikit-learn is not installed.
    """
    if len({row.label for row in train if row.label == 0 or counts_as_attack(row)}) < 2:
        raise InvalidField("baselines need benign rows and attacks with their signals to fit on", field="label")
    try:
        encode = MeanActivations(TruncatedModel(files, (layer,), dtype="bfloat16"), tokenizer, cache, progress)
        return [TfIdfBaseline(train), MeanPooledBaseline(encode, train)]
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed: pip install 'alknet-firewall[calibrate]'") from None


def compare(methods: Sequence[Baseline], rows: Sequence[LabelledText]) -> dict[str, Any]:
    """Return by name how well each method ranks the rows; see ``measure.ranking``."""
    labels = np.array([row.label for row in rows])
    table = {}
    for method in methods:
        scores = method.score([row.text for row in rows])
        table[method.name] = ranking(scores[labels == 0], scores[labels == 1])
    return table
