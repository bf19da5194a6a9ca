"""What an encoder backend does, and how windows become its input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from worker.model.windows import Window

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Windows padded on the right to one length.

    Attributes:
        ids: Token ids, int64 ``(n_windows, length)``; padding is 0 and masked.
        mask: True where there is a token, bool ``(n_windows, length)``.
    """

    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "WindowBatch":
        """Pad windows to the longest one."""
        lengths = np.fromiter((len(window) for window in windows), dtype=np.int64, count=len(windows))
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.zeros(mask.shape, dtype=np.int64)
        ids[mask] = np.concatenate([window.ids for window in windows])
        return cls(ids, mask)


class Encoder(Protocol):
    """A model's truncated forward pass with the codebook's probe inside.

    Implementations keep no hidden states: activations are projected and pooled layer by layer.
    """

    name: str
    """Backend and dtype, for example ``torch-float32``."""

    def score(self, batch: WindowBatch) -> FloatArray:
        """Return the probe's logits, float32 ``(n_windows, n_signals)``."""
        ...

    def attribute(self, batch: WindowBatch) -> FloatArray:
        """Return what each token adds to the logits, float32 ``(n_windows, length, n_signals)``.

        Summed over tokens, plus the probe's bias, these are the logits of ``score``.
        """
        ...
