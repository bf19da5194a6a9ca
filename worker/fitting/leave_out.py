"""Leave-one-source-group-out: how well attacks of a source are found that nothing was fitted on.

Rows of one source share a style, and a detector can learn the style instead of the attack. So the source
groups are dealt into folds; for each fold everything is fitted on the groups of the other folds, and each of
its attack groups is ranked against the fold's benign rows. A composed row (a plant in a context) belongs to the
source of its plant, and is fitted on only where none of the sources it names is held out.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.signal import SIGNALS
from worker.codebook.adapter import Adapter
from worker.codebook.format import Codebook
from worker.codebook.probe import Probe, fold
from worker.errors import InvalidField
from worker.fitting.activations import project
from worker.fitting.adapter import AdapterPlan, train_adapter
from worker.fitting.baselines import MeanActivations, MeanPooledBaseline, TfIdfBaseline
from worker.fitting.dataset import LabelledText, source_group
from worker.fitting.disguise import disguise
from worker.fitting.fit import Progress, make_targets
from worker.fitting.plan import CalibrationPlan
from worker.fitting.train import TrainingPlan, train_probe
from worker.model.hub import ModelFiles
from worker.model.torch_encoder import TorchEncoder, TruncatedModel
from worker.model.windows import Window, WindowTokenizer
from worker.screening.offline import score_texts
from worker.screening.policy import Policy
from worker.screening.scoring import document_statistic
from worker.screening.screener import prepare

FloatArray = npt.NDArray[np.float64]

FOLDS = 5
ROWS = 200
"""Rows of a source group and label that are used, drawn by hash; an adapter fit uses all."""
MIN_ATTACKS = 40
"""Attacks of a group below which its AUC is not reported."""
MAX_WINDOWS = 2
"""Windows of a document the probes are fitted on, evenly spaced; scoring uses all."""
DISGUISED_SHARE = CalibrationPlan.disguised_share

_PLANT = re.compile(r"plant ([^\s,]+)")


@dataclass(frozen=True)
class Fold:
    """One split.

    Attributes:
        groups: Source groups held out.
        train: Rows to fit on, by position.
        test: Rows of the groups held out, by position.
    """

    groups: frozenset[str]
    train: list[int]
    test: list[int]


@dataclass(frozen=True)
class HeldOut:
    """One attack group's scores, and those of the benign rows of its fold, by method.

    Attributes:
        fold: Number of the fold.
        attack: For every method float64 ``(n_attacks,)``.
        benign: For every method float64 ``(n_benign,)``.
    """

    fold: int
    attack: dict[str, FloatArray]
    benign: dict[str, FloatArray]


def held_out_group(row: LabelledText) -> str:
    """Return the group a row is held out with; of a composed row the source of its plant."""
    plant = _PLANT.search(row.source) if row.source.startswith("composed") else None
    return plant[1] if plant else source_group(row)


def sample_rows(rows: Sequence[LabelledText], most: int | None) -> list[LabelledText]:
    """Return rows the default policy looks for or that are benign, up to ``most`` of a group and label, in order."""
    counts = [row for row in rows if row.text.strip() and (row.label == 0 or row.signal in Policy().signals)]
    if most is None:
        return counts
    members: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for position, row in enumerate(counts):
        members[held_out_group(row), row.label].append(position)
    kept = {n for group in members.values() for n in sorted(group, key=lambda n: _digest(counts[n]))[:most]}
    return [row for position, row in enumerate(counts) if position in kept]


def make_folds(rows: Sequence[LabelledText], count: int) -> list[Fold]:
    """Deal the source groups into folds of nearly equal numbers of benign rows and of attacks.

    Raises:
        InvalidField: A fold has no benign row or no attack.
    """
    sizes: dict[str, Counter[int]] = defaultdict(Counter)
    for row in rows:
        sizes[held_out_group(row)][row.label or 0] += 1
    total = Counter(row.label or 0 for row in rows)
    dealt: list[set[str]] = [set() for _ in range(count)]
    filled = np.zeros((count, 2))
    for group in sorted(sizes, key=lambda name: (-sizes[name].total(), name)):
        share = np.array([sizes[group][label] / max(1, total[label]) for label in (0, 1)])
        target = int(np.argmin(((filled + share) ** 2).sum(axis=1) - (filled**2).sum(axis=1)))
        dealt[target].add(group)
        filled[target] += share
    if (filled == 0).any():
        raise InvalidField(f"too few source groups for {count} folds with benign rows and attacks each", field="source")
    return [_fold(rows, frozenset(groups)) for groups in dealt]


def _fold(rows: Sequence[LabelledText], groups: frozenset[str]) -> Fold:
    names = [group.rpartition("/")[2] for group in groups if "/" in group]
    train, test = [], []
    for position, row in enumerate(rows):
        if held_out_group(row) in groups:
            test.append(position)
        elif not any(name in row.source for name in names):
            train.append(position)
    return Fold(groups, train, test)


def leave_groups_out(
    codebook: Codebook,
    files: ModelFiles,
    tokenizer: WindowTokenizer,
    rows: Sequence[LabelledText],
    adapter: AdapterPlan | None,
    cache: Path,
    progress: Progress,
) -> dict[str, HeldOut]:
    """Fit and score all folds.

    Args:
        codebook: Its layers, basis and number of heads are used; its probes are not.
        files: Its model.
        tokenizer: Its tokenizer.
        rows: Labelled rows with signals.
        adapter: How to train an adapter for every fold; None fits probes on the frozen model, which takes minutes
            instead of hours and finds less.
        cache: Directory for activations and checkpoints.
        progress: Opens progress bars.

    Returns:
        By attack group the scores of ``codebook``'s method and of both baselines.
    """
    rows = sample_rows(rows, ROWS if adapter is None else None)
    rows = [row for row, text in zip(rows, prepare(tokenizer, [row.text for row in rows]), strict=True) if text.windows]
    layers = codebook.header.model.layers
    frozen = TruncatedModel(files, layers, dtype="bfloat16")
    fit = _fitter(_Documents.of(rows, tokenizer), codebook, frozen, adapter, cache, progress)
    means = MeanActivations(TruncatedModel(files, layers[-1:], dtype="bfloat16"), tokenizer, cache, progress)
    means([row.text for row in rows])
    found: dict[str, HeldOut] = {}
    counted = [SIGNALS.index(signal) for signal in Policy().signals]
    for number, split in enumerate(make_folds(rows, FOLDS), start=1):
        train, texts = [rows[n] for n in split.train], [rows[n].text for n in split.test]
        changes, probe = fit(split.train)
        serving = TruncatedModel(files, layers, dtype="bfloat16", adapter=changes) if changes else frozen
        scores, _ = score_texts(TorchEncoder(serving, fold(codebook.basis, probe, layers)), tokenizer, texts, progress)
        methods = {
            "codebook's method": document_statistic(scores[:, counted]),
            TfIdfBaseline.name: TfIdfBaseline(train).score(texts),
            MeanPooledBaseline.name: MeanPooledBaseline(means, train, every=1).score(texts),
        }
        found |= _by_group(number, [rows[n] for n in split.test], methods)
        progress(f"fold {number} of {FOLDS}", 1)(1)
    return found


def _by_group(number: int, rows: Sequence[LabelledText], methods: dict[str, FloatArray]) -> dict[str, HeldOut]:
    groups = np.array([held_out_group(row) for row in rows])
    attack = np.array([row.label == 1 for row in rows])
    benign = {name: scores[~attack] for name, scores in methods.items()}
    return {
        str(group): HeldOut(number, {name: s[attack & (groups == group)] for name, s in methods.items()}, benign)
        for group in np.unique(groups[attack])
        if (attack & (groups == group)).sum() >= MIN_ATTACKS
    }


@dataclass(frozen=True)
class _Documents:
    """What is fitted on: the rows, and disguised copies of some."""

    rows: list[LabelledText]
    windows: list[list[Window]]
    owners: list[int]
    """The row, by position, that a document is or is a copy of: a copy goes where its row goes."""

    @classmethod
    def of(cls, rows: Sequence[LabelledText], tokenizer: WindowTokenizer) -> "_Documents":
        copies = [(copy, n) for n, row in enumerate(rows) for copy in disguise([row], DISGUISED_SHARE)]
        documents = [*rows, *(copy for copy, _ in copies)]
        windows = [text.windows for text in prepare(tokenizer, [document.text for document in documents])]
        return cls(documents, windows, [*range(len(rows)), *(n for _, n in copies)])

    def chosen(self, train: list[int]) -> list[int]:
        kept = set(train)
        return [number for number, owner in enumerate(self.owners) if owner in kept]


Fitter = Callable[[list[int]], tuple[Adapter, Probe]]
"""Fits on rows by position."""


def _fitter(
    documents: _Documents,
    codebook: Codebook,
    model: TruncatedModel,
    adapter: AdapterPlan | None,
    cache: Path,
    progress: Progress,
) -> Fitter:
    if adapter is None:
        return _probe_fitter(documents, codebook, model, cache, progress)
    return _adapter_fitter(documents, codebook, model, adapter, cache, progress)


def _adapter_fitter(
    documents: _Documents,
    codebook: Codebook,
    model: TruncatedModel,
    plan: AdapterPlan,
    cache: Path,
    progress: Progress,
) -> Fitter:
    def fit(train: list[int]) -> tuple[Adapter, Probe]:
        chosen = documents.chosen(train)
        rows, windows = [documents.rows[n] for n in chosen], [documents.windows[n] for n in chosen]
        targets, weights = make_targets(rows)
        sources = [row.source for row in rows]
        digest = hashlib.sha256(f"{plan}{chosen}".encode() + codebook.basis.components.tobytes())
        for found in windows:
            digest.update(b"".join(window.ids.tobytes() for window in found))
        state, heads = cache / f"fold-{digest.hexdigest()[:24]}.safetensors", codebook.probe.n_heads
        return train_adapter(model, codebook.basis, windows, sources, targets, weights, plan, heads, state, progress)

    return fit


def _probe_fitter(
    documents: _Documents, codebook: Codebook, model: TruncatedModel, cache: Path, progress: Progress
) -> Fitter:
    few = [_evenly(windows) for windows in documents.windows]
    flat = [window for windows in few for window in windows]
    numbers = np.repeat(np.arange(len(few)), [len(windows) for windows in few])
    projected = project(model, codebook.basis, flat, numbers, cache, progress("activations", len(flat)))
    plan = replace(TrainingPlan(), heads=codebook.probe.n_heads)

    def fit(train: list[int]) -> tuple[Adapter, Probe]:
        chosen = documents.chosen(train)
        targets = np.zeros((len(documents.rows), len(SIGNALS)), dtype=np.float32)
        weights = np.zeros_like(targets)  # a weight of 0 leaves a document out
        targets[chosen], weights[chosen] = make_targets([documents.rows[n] for n in chosen])
        return {}, train_probe(projected, targets, weights, plan, progress("probe epochs", plan.epochs))

    return fit


def _evenly(windows: list[Window]) -> list[Window]:
    if len(windows) <= MAX_WINDOWS:
        return windows
    return [windows[i] for i in np.linspace(0, len(windows) - 1, MAX_WINDOWS).round().astype(int)]


def _digest(row: LabelledText) -> bytes:
    return hashlib.sha256(f"leave out\x00{row.source}\x00{row.id}".encode()).digest()
