"""Fit a codebook: basis, probes, benign distributions, golden scores."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from schemas.signal import SIGNALS, Signal
from worker.codebook.adapter import Adapter
from worker.codebook.format import CalibratedModel, Codebook, Golden, Header, WindowShape
from worker.codebook.probe import Basis, Probe, fold
from worker.codebook.splines import fit_survival
from worker.errors import InvalidField
from worker.fitting.activations import fit_basis, project
from worker.fitting.adapter import train_adapter
from worker.fitting.compose import Parts, compose
from worker.fitting.dataset import LabelledText, held_out, source_group
from worker.fitting.disguise import disguise
from worker.fitting.golden import GOLDEN_TEXTS
from worker.fitting.plan import CalibrationPlan
from worker.fitting.train import train_probe
from worker.model.hub import ModelFiles
from worker.model.torch_encoder import TorchEncoder, TruncatedModel
from worker.model.windows import Window, WindowTokenizer
from worker.screening.offline import score_texts
from worker.screening.screener import prepare

T = TypeVar("T")

Progress = Callable[[str, int], Callable[[int], None]]
"""Opens a progress bar: name and total in, a function that advances it out."""

MIN_STRATUM = 300
"""Benign calibration documents a length stratum must have; smaller ones are merged with a neighbour."""


def calibrate(
    files: ModelFiles,
    rows: Sequence[LabelledText],
    plan: CalibrationPlan,
    *,
    cache: Path,
    progress: Progress,
    parts: Parts | None = None,
    data: Sequence[dict[str, object]] = (),
) -> Codebook:
    """Fit a codebook.

    Args:
        files: The model.
        rows: Labelled texts with signals.
        plan: The choices.
        cache: Directory for activations; a second run over the same data starts from them.
        progress: Opens progress bars.
        parts: What to compose more rows of, beside those that are fitted on.
        data: What is known of the files the rows came from; kept in the provenance.

    Returns:
        The codebook, without fingerprint until it is saved.

    Raises:
        InvalidField: Rows lack labels, or there are too few benign ones to calibrate on.
    """
    split = _split(rows, plan)
    fitted, benign = (part + disguise(part, plan.disguised_share) for part in split)
    if parts:
        fitted += compose(split[0], parts, plan.composed_pairs, plan.training.seed)
    model = TruncatedModel(files, plan.layers, dtype=plan.activation_dtype)
    if plan.window > model.max_tokens:
        raise InvalidField(f"a window of {plan.window} tokens, the model takes {model.max_tokens}", field="window")
    tokenizer = WindowTokenizer(files.directory / "tokenizer.json", size=plan.window, overlap=plan.overlap)
    documents = _training_windows(tokenizer, fitted, progress)
    basis = _basis(model, documents, plan, progress)
    targets, weights = make_targets(fitted)
    sources = [row.source for row in fitted]
    adapter, probe = _train(model, basis, documents, sources, targets, weights, plan, cache, progress)
    provenance = {
        "data": list(data),
        "rows": len(rows),
        "fitted": len(fitted),
        "benign_calibration": len(benign),
        "signals": {name: sum(row.signal == name for row in fitted) for name in ("benign", *SIGNALS)},
        "plan": asdict(plan),
    }
    return complete(files, tokenizer, Fitted(basis, probe, adapter), benign, plan, provenance, progress)


@dataclass(frozen=True)
class Fitted:
    """What training leaves: see ``Codebook`` for the parts."""

    basis: Basis
    probe: Probe
    adapter: Adapter


def complete(
    files: ModelFiles,
    tokenizer: WindowTokenizer,
    fitted: Fitted,
    benign: Sequence[LabelledText],
    plan: CalibrationPlan,
    provenance: dict[str, object],
    progress: Progress,
) -> Codebook:
    """Take the benign distributions and golden scores in the arithmetic the workers will use.

    Args:
        files: The model.
        tokenizer: Its tokenizer.
        fitted: Basis, probe and adapter.
        benign: Benign texts that nothing was fitted on.
        plan: The choices.
        provenance: Kept in the header.
        progress: Opens progress bars.
    """
    serving = TruncatedModel(files, plan.layers, dtype=plan.dtype, adapter=fitted.adapter)
    encoder = TorchEncoder(serving, fold(fitted.basis, fitted.probe, plan.layers))
    scores, tokens = score_texts(encoder, tokenizer, [row.text for row in benign], progress)
    groups, numbers = np.unique([source_group(row) for row in benign], return_inverse=True)
    golden, _ = score_texts(encoder, tokenizer, GOLDEN_TEXTS, progress)
    header = Header(
        model=CalibratedModel(
            name=files.name,
            revision=files.revision,
            weights_sha256=files.weights_sha256,
            tokenizer_sha256=tokenizer.sha256,
            layers=plan.layers,
            backend="torch",
            dtype=plan.dtype,
        ),
        window=WindowShape(size=plan.window, overlap=plan.overlap),
        signals=SIGNALS,
        strata=merge_strata(tokens, plan.strata),
        explained_variance=fitted.basis.explained,
        groups=tuple(str(group) for group in groups),
        adapted=tuple(fitted.adapter),
        golden=Golden(texts=list(GOLDEN_TEXTS), tolerance=0.05 if plan.dtype == "float32" else 0.5),
        provenance=provenance,
    )
    return assemble(header, fitted, scores, tokens, numbers, golden)


def assemble(
    header: Header,
    fitted: Fitted,
    benign_scores: npt.NDArray[np.float32],
    benign_tokens: npt.NDArray[np.int32],
    benign_groups: npt.NDArray[np.int64],
    golden_scores: npt.NDArray[np.float32],
) -> Codebook:
    """Fit the benign distributions and put a codebook together; shapes as in ``Codebook``."""
    stratum = np.searchsorted(np.asarray(header.strata), benign_tokens, side="right")
    distributions = tuple(
        tuple(fit_survival(benign_scores[stratum == s, column]) for column in range(len(header.signals)))
        for s in range(len(header.strata) + 1)
    )
    return Codebook(
        header,
        fitted.basis,
        fitted.probe,
        distributions,
        benign_scores,
        benign_tokens,
        benign_groups.astype(np.int32),
        golden_scores,
        fitted.adapter,
    )


def make_targets(
    rows: Sequence[LabelledText],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return targets and weights ``(n_documents, n_signals)``.

    Kinds of attack overlap, so that an attack is little evidence against another kind: its other targets
    weigh a tenth. A plain harmful question carries no other kind: there they weigh a half. Every signal's
    positives weigh together as much as a third of the benign rows, however few they are. Sources are
    balanced by the root of their size, so that the largest do not decide alone.
    """
    signals: tuple[Signal, ...] = SIGNALS
    targets = np.array([[row.signal == s for s in signals] for row in rows], dtype=np.float32)
    benign = np.array([row.label == 0 for row in rows])
    weights = np.full(targets.shape, 0.1, dtype=np.float32)
    weights[np.array([row.signal == "harmful_request" for row in rows])] = 0.5
    weights[benign] = 1.0
    positives = targets.sum(axis=0)
    boost = np.clip(benign.sum() / 3 / np.maximum(positives, 1), 1.0, 5.0)
    sizes = Counter(row.source for row in rows)
    balance = np.array([np.clip((200 / sizes[row.source]) ** 0.5, 0.5, 2.0) for row in rows])
    return targets, (np.where(targets == 1, boost[None, :], weights) * balance[:, None]).astype(np.float32)


def merge_strata(tokens: npt.NDArray[np.int32], borders: tuple[int, ...]) -> tuple[int, ...]:
    """Drop borders until every stratum holds ``MIN_STRATUM`` documents."""
    kept = list(borders)
    while kept:
        counts = np.bincount(np.searchsorted(np.asarray(kept), tokens, side="right"), minlength=len(kept) + 1)
        smallest = int(counts.argmin())
        if counts[smallest] >= MIN_STRATUM:
            break
        kept.pop(min(smallest, len(kept) - 1))
    return tuple(kept)


def _split(rows: Sequence[LabelledText], plan: CalibrationPlan) -> tuple[list[LabelledText], list[LabelledText]]:
    if any(row.label is None or row.signal is None for row in rows):
        raise InvalidField("every row to fit on needs label (0 or 1) and signal", field="label")
    benign = [row for row in rows if row.label == 0 and held_out(row, plan.calibration_share, "calibration")]
    require_benign(benign)
    aside = {id(row) for row in benign}
    return [row for row in rows if id(row) not in aside], without_twins(benign)


def without_twins(benign: list[LabelledText]) -> list[LabelledText]:
    """Leave out the harmless twins of attacks, unless too few other rows remain.

    They are made to be taken for attacks. Traffic is not: with them, the false-alarm rate would be that of an
    imagined opponent's text, and far lower on any that comes.
    """
    others = [row for row in benign if not row.pair]
    return others if len(others) >= MIN_STRATUM else benign


def require_benign(rows: Sequence[LabelledText]) -> None:
    """Check that there are enough benign rows to calibrate on.

    Raises:
        InvalidField: There are not.
    """
    if len(rows) < MIN_STRATUM:
        raise InvalidField(
            f"only {len(rows)} benign rows for calibration, {MIN_STRATUM} are needed; give more benign texts",
            field="label",
        )


def _training_windows(
    tokenizer: WindowTokenizer, rows: Sequence[LabelledText], progress: Progress
) -> list[list[Window]]:
    """Return all windows of all views of every row."""
    advance = progress("tokens", len(rows))
    documents: list[list[Window]] = []
    for chunk in _chunks(rows, 1024):
        for row, text in zip(chunk, prepare(tokenizer, [row.text for row in chunk]), strict=True):
            if not text.windows:
                raise InvalidField(f"row {row.id} has no tokens; leave it out", field="text")
            documents.append(text.windows)
        advance(len(chunk))
    return documents


def _basis(model: TruncatedModel, documents: list[list[Window]], plan: CalibrationPlan, progress: Progress) -> Basis:
    step = max(1, len(documents) // plan.basis_documents)
    sample = [window for windows in documents[::step] for window in _spread(windows, plan.max_windows)]
    return fit_basis(model, sample, plan.rank, progress("basis", len(sample)))


def _train(
    model: TruncatedModel,
    basis: Basis,
    documents: list[list[Window]],
    sources: list[str],
    targets: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    plan: CalibrationPlan,
    cache: Path,
    progress: Progress,
) -> tuple[Adapter, Probe]:
    heads = plan.training.heads
    if plan.adapter.rank:
        digest = hashlib.sha256(f"{plan}".encode() + basis.components.tobytes() + weights.tobytes())
        for windows in documents:
            digest.update(b"".join(window.ids.tobytes() for window in windows))
        state = cache / f"adapter-{digest.hexdigest()[:24]}.safetensors"
        return train_adapter(model, basis, documents, sources, targets, weights, plan.adapter, heads, state, progress)
    chosen = [_spread(windows, plan.max_windows) for windows in documents]
    flat = [window for windows in chosen for window in windows]
    owners = np.repeat(np.arange(len(chosen)), [len(windows) for windows in chosen])
    projected = project(model, basis, flat, owners, cache, progress("activations", len(flat)))
    advance = progress("probe epochs", plan.training.epochs)
    return {}, train_probe(projected, targets, weights, plan.training, advance)


def _spread(windows: list[Window], most: int) -> list[Window]:
    if len(windows) <= most:
        return windows
    return [windows[i] for i in np.unique(np.linspace(0, len(windows) - 1, most).round().astype(int))]


def _chunks(values: Sequence[T], size: int) -> list[Sequence[T]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
