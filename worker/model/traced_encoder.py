"""The torch backend with its pass recorded once: nothing of Python runs between the operators.

A pass of a small model is a few hundred short operators. Called from Python, each gives the interpreter lock away and
takes it back, and waits for the worker's other threads while it does (ADR 17).
"""

import logging
import warnings
from typing import TYPE_CHECKING

import torch

from worker.model.encoder import FloatArray, WindowBatch
from worker.model.torch_encoder import TorchEncoder, numpy_of, quiet

if TYPE_CHECKING:
    Graph = torch.jit.ScriptModule

log = logging.getLogger(__name__)

RECORDED_ON = (3, 12)
"""Windows and length of the batch that is recorded."""

PROVED_ON = ((1, 5), (2, 12), (5, 31))
"""The same of batches on which the record must give what the model gives: other numbers, other lengths."""

CLOSE = 0.05
"""Largest difference of a logit. The kernels are the same; only a mask that hides nothing takes another path."""


class TracedEncoder:
    """Scores by the record; attributes, which is rare, by the model.

    Args:
        inner: The encoder that was recorded.
        graph: Its ``logits(shares(ids, mask))``.
    """

    def __init__(self, inner: TorchEncoder, graph: "Graph"):
        self._inner = inner
        self._graph = graph
        self.name = inner.name

    def score(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.score``."""
        with torch.inference_mode():
            return numpy_of(self._graph(*self._inner.model.tensors(batch)))

    def attribute(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.attribute``."""
        return self._inner.attribute(batch)


def traced(encoder: TorchEncoder) -> TorchEncoder | TracedEncoder:
    """Record an encoder's pass, if the record holds for batches of any shape.

    A record knows no branches: a model whose Python decides by the batch would be recorded wrongly, so the record is
    proved before it is used.

    Args:
        encoder: On a CPU; its model must not be changed any more.

    Returns:
        The recorded encoder, or the same one where recording fails or proves wrong.
    """
    try:
        graph = _record(encoder)
        worst = max(_difference(encoder, graph, shape) for shape in PROVED_ON)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        log.info("the model's pass is not recorded (%s): short texts take a fifth longer", type(error).__name__)
        return encoder
    if not worst <= CLOSE:
        log.info("the model's pass is not recorded (logits differ by %.3f): short texts take a fifth longer", worst)
        return encoder
    return TracedEncoder(encoder, graph)


def _record(encoder: TorchEncoder) -> "Graph":
    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder.model.model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return encoder.logits(encoder.shares(ids, mask))

    with torch.no_grad(), quiet(), warnings.catch_warnings():
        # torch advises against tracing in favour of compilers; these need a C++ compiler where the worker runs.
        warnings.simplefilter("ignore")
        graph = torch.jit.trace(  # type: ignore[no-untyped-call]
            Scores().eval(), _batch(encoder, RECORDED_ON), check_trace=False
        )
    recorded: Graph = graph
    return recorded


def _difference(encoder: TorchEncoder, graph: "Graph", shape: tuple[int, int]) -> float:
    """Return the largest difference of a logit on a batch of this shape; NaN if one is NaN."""
    with torch.inference_mode():
        ids, mask = _batch(encoder, shape)
        return float((graph(ids, mask) - encoder.logits(encoder.shares(ids, mask))).abs().max())


def _batch(encoder: TorchEncoder, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of a batch whose last window has padding, unless it is the only one."""
    windows, length = shape[0], min(shape[1], encoder.model.max_tokens)
    ids = torch.arange(1, windows * length + 1).remainder(encoder.model.vocabulary).view(windows, length)
    mask = torch.ones((windows, length), dtype=torch.bool)
    if windows > 1:
        mask[-1, length // 2 :] = False
    return ids, mask
