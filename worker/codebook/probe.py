"""The attention-pooled probe, folded with the basis into one matrix a layer.

A window's logit for signal ``s`` is ``bias_s + sum over heads h of sum over tokens t of
softmax_t(query_sh(x_t)) * value_sh(x_t)``, where queries and values are linear in the projected
activation ``z = ((concat of layers) - mean) @ components``. Attention probes: S. Kantamneni et al., "Are
Sparse Autoencoders Useful? A Case Study in Sparse Probing" (2025), section on multi-token probes. Because
values are linear in a token's activation, every token's share of the logit is known exactly: that share
is the evidence.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Basis:
    """An orthogonal basis of the chosen layers' activations, whitened.

    Attributes:
        mean: Mean activation of the concatenated layers, float32 ``(n_layers * hidden,)``.
        components: Right singular vectors divided by their standard deviation, float32
            ``(n_layers * hidden, rank)``.
        explained: Share of the variance the basis keeps.
    """

    mean: FloatArray
    components: FloatArray
    explained: float

    @property
    def rank(self) -> int:
        """Number of directions."""
        return int(self.components.shape[1])


@dataclass(frozen=True)
class Probe:
    """Queries and values of every signal's heads on the projected activation.

    Attributes:
        query: float32 ``(n_signals, n_heads, rank)``.
        value: float32 ``(n_signals, n_heads, rank)``.
        bias: float32 ``(n_signals,)``.
    """

    query: FloatArray
    value: FloatArray
    bias: FloatArray

    @property
    def n_signals(self) -> int:
        """Number of signals."""
        return int(self.query.shape[0])

    @property
    def n_heads(self) -> int:
        """Number of heads of each signal."""
        return int(self.query.shape[1])


@dataclass(frozen=True)
class FoldedProbe:
    """Basis and probe as one affine map of each layer's activation: what runs inside the forward.

    Attributes:
        layers: Layers (1 = output of the first block), ascending.
        weights: For every layer a float32 ``(hidden, 2 * n_signals * n_heads)``: queries, then values.
        offset: float32 ``(2 * n_signals * n_heads,)``.
        bias: float32 ``(n_signals,)``.
        n_signals: Number of signals.
        n_heads: Heads a signal.
    """

    layers: tuple[int, ...]
    weights: tuple[FloatArray, ...]
    offset: FloatArray
    bias: FloatArray
    n_signals: int
    n_heads: int


def fold(basis: Basis, probe: Probe, layers: tuple[int, ...]) -> FoldedProbe:
    """Fold the basis into the probe: ``((x - mean) C) Q' == x (C Q') - mean (C Q')``.

    The products are taken in float64, so that the folded map equals the two steps to float32 rounding.
    """
    heads = probe.n_signals * probe.n_heads
    stacked = np.concatenate([probe.query.reshape(heads, -1), probe.value.reshape(heads, -1)], axis=0).astype(
        np.float64
    )
    matrix = basis.components.astype(np.float64) @ stacked.T
    offset = -basis.mean.astype(np.float64) @ matrix
    return FoldedProbe(
        layers=layers,
        weights=tuple(part.astype(np.float32) for part in np.split(matrix, len(layers), axis=0)),
        offset=offset.astype(np.float32),
        bias=probe.bias,
        n_signals=probe.n_signals,
        n_heads=probe.n_heads,
    )
