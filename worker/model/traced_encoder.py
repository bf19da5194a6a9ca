"""The torch backend with its pass traced once: nothing of Python runs between the operators.

A pass of a small model is a few hundred short operators. Called from Python, each gives the interpreter lock away and
takes it back, and waits for the worker's other threads while it does (ADR 17).
"""

import logging

import torch

from worker.model.encoder import FloatArray, WindowBatch
from worker.model.torch_encoder import TorchEncoder, numpy_of, quiet

log = logging.getLogger(__name__)

Shape = tuple[int, int, int]
"""Windows, length, and tokens of the last window of a batch."""

TRACED_ON: Shape = (3, 12, 6)

PROVED_ON: tuple[Shape, ...] = ((1, 5, 5), (2, 12, 3), (5, 31, 16), (2, 200, 200))
"""Batches on which the trace must give what the model gives: other numbers, other lengths, with padding and without."""

CLOSE = 0.05
"""Largest difference of a logit. The kernels are the same; only a mask that hides nothing takes another path."""


class TracedEncoder:
    """Scores by the trace; attributes, which is rare, by the model.

    Args:
        inner: The encoder that was traced.
        trace: Its ``logits(shares(ids, mask))``: int64 and bool ``(n_windows, length)`` in, float32 ``(n_windows,
            n_signals)`` out. Several threads may call it at once.
    """

    def __init__(self, inner: TorchEncoder, trace: "torch.jit.ScriptModule"):
        self._inner = inner
        self._trace = trace
        self.name = inner.name

    def score(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.score``."""
        with torch.inference_mode():
            return numpy_of(self._trace(*self._inner.model.tensors(batch)))

    def attribute(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.attribute``."""
        return self._inner.attribute(batch)


def traced(encoder: TorchEncoder) -> TorchEncoder | TracedEncoder:
    """Trace an encoder's pass, if the trace gives the model's logits on batches of other shapes.

    A trace knows no branches: what a model's Python decides by the batch would be fixed, so it is proved before it is
    used.

    Args:
        encoder: On a CPU; its model must not be changed any more.

    Returns:
        The traced encoder, or the same one where tracing fails or proves wrong.
    """
    try:
        trace = _trace(encoder)
        # Not the largest of all: max() would pass over a NaN.
        holds = all(_difference(encoder, trace, shape) <= CLOSE for shape in PROVED_ON)
        reason = "its logits differ"
    except Exception as error:  # noqa: BLE001 - whatever a model's code raises, it can serve untraced
        holds, reason = False, type(error).__name__
    if not holds:
        log.info("the model's pass is not traced (%s): short texts take a fifth longer", reason)
        return encoder
    return TracedEncoder(encoder, trace)


def _trace(encoder: TorchEncoder) -> "torch.jit.ScriptModule":
    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder.model.model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return encoder.logits(encoder.shares(ids, mask))

    # Quiet also because torch advises against tracing, in favour of compiling; ADR 17 says why it is done all the same.
    with torch.inference_mode(), quiet():
        made: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            Scores().eval(), _batch(encoder, TRACED_ON), check_trace=False
        )
    return made


def _difference(encoder: TorchEncoder, trace: "torch.jit.ScriptModule", shape: Shape) -> float:
    """Return the largest difference of a logit on a batch of this shape; NaN if one is NaN."""
    with torch.inference_mode():
        ids, mask = _batch(encoder, shape)
        return float((trace(ids, mask) - encoder.logits(encoder.shares(ids, mask))).abs().max())


def _batch(encoder: TorchEncoder, shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids int64 and mask bool, both ``(n_windows, length)``, no longer than the model takes."""
    windows, length = shape[0], min(shape[1], encoder.model.max_tokens)
    vocabulary = encoder.model.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    ids = torch.arange(1, windows * length + 1).remainder(vocabulary).view(windows, length)
    mask = torch.ones((windows, length), dtype=torch.bool)
    mask[-1, shape[2] :] = False
    return ids, mask
