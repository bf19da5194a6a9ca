"""The choices that make one codebook differ from another."""

from dataclasses import dataclass, field
from typing import Literal

from worker.fitting.adapter import AdapterPlan
from worker.fitting.train import TrainingPlan


@dataclass(frozen=True)
class CalibrationPlan:
    """Choices of one codebook.

    Attributes:
        layers: Layers to probe, 1-based.
        rank: Directions of the basis.
        window: Tokens of a window, special ones included.
        overlap: Content tokens two windows share.
        strata: Borders of the length strata, in tokens.
        calibration_share: Share of the benign rows kept from the probes for the benign distributions.
        disguised_share: Share of the short rows, for fitting and for calibration, added again in a disguise.
        composed_pairs: Pairs of rows composed of parts, of each kind; see ``compose``.
        basis_documents: Documents the basis is fitted on.
        max_windows: Windows of one document used for training, evenly spaced; scoring always uses all.
        dtype: Arithmetic the worker will use; the benign distributions and golden scores are taken in it.
        activation_dtype: Arithmetic of the activations the probes are fitted on. They are stored in half
            precision anyway.
        training: See ``TrainingPlan``.
        adapter: See ``AdapterPlan``. With an adapter, probes are trained with it, and of ``training`` only
            the heads count.
    """

    layers: tuple[int, ...]
    rank: int = 256
    window: int = 256
    overlap: int = 32
    strata: tuple[int, ...] = (8, 32, 128, 384)
    calibration_share: float = 0.25
    disguised_share: float = 0.08
    composed_pairs: int = 1200
    basis_documents: int = 1500
    max_windows: int = 4
    dtype: Literal["float32", "bfloat16"] = "float32"
    activation_dtype: str = "bfloat16"
    training: TrainingPlan = field(default_factory=TrainingPlan)
    adapter: AdapterPlan = field(default_factory=AdapterPlan)


def default_layers(depth: int) -> tuple[int, ...]:
    """Return the layers probed when none are named: two thirds of the deepest, and the deepest.

    The deepest is the model's last, or of a model of over twelve layers the last of the first 80 %: late
    layers of decoders specialise in the next token; middle ones carry what a text is about.
    """
    deepest = max(1, round(depth * 0.8)) if depth > 12 else depth
    return tuple(sorted({max(1, round(deepest * 2 / 3)), deepest}))
