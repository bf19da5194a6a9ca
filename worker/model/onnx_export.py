"""The truncated model with the folded probe inside as an ONNX graph. Making it needs torch; running it does not."""

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from worker.codebook.probe import FoldedProbe
from worker.errors import MissingExtra
from worker.model.onnx_encoder import INPUTS, OUTPUTS
from worker.model.torch_encoder import TorchEncoder, TruncatedModel

if TYPE_CHECKING:
    import torch

OPSET = 20
"""Since opset 20 Gelu is one operator."""

MAX_WINDOWS = 65_536

LIBRARIES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")


def made_with() -> dict[str, str]:
    """Return the versions of the libraries that make a graph."""
    return {name: version(name) for name in LIBRARIES}


def require_exporter() -> None:
    """Check that what an export needs is installed.

    Raises:
        MissingExtra: Something is not.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            f"{error.name} is not installed. Export needs: pip install 'alknet-firewall[export]' (where the worker "
            "runs, the extra onnx is enough)."
        ) from None
    del onnx, onnxruntime, onnxscript, torch


def export_graph(model: TruncatedModel, probe: FoldedProbe, *, window: int) -> bytes:
    """Return the float32 graph.

    Inputs are ``ids`` int64 and ``mask`` bool, both ``(n_windows, length)``; outputs are ``logits`` float32
    ``(n_windows, n_signals)`` and ``shares`` float32 ``(n_windows, length, n_signals)``, as ``Encoder.score`` and
    ``Encoder.attribute`` return them.

    Args:
        model: A float32 model with its adapter merged.
        probe: The folded probe.
        window: Largest length.
    """
    import torch
    from torch.export import Dim

    # Plain products and softmax: onnxruntime's optimiser knows them, and SDPA's guards against rows without a
    # token would stay in the graph.
    model.model.set_attn_implementation("eager")  # type: ignore[operator]
    encoder = TorchEncoder(model, probe)

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.model

        def forward(self, ids: "torch.Tensor", mask: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
            shares = encoder.shares(ids, mask)
            return encoder.logits(shares), shares

    example = torch.ones((3, min(7, window)), dtype=torch.int64)
    mask = torch.ones_like(example, dtype=torch.bool)
    mask[1, 4:] = False
    shape = {0: Dim("windows", min=1, max=MAX_WINDOWS), 1: Dim("length", min=2, max=window)}
    with _quiet(), torch.inference_mode():
        program = torch.onnx.export(
            Graph().eval(),
            (example, mask),
            dynamo=True,
            dynamic_shapes=(shape, shape),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:  # only with exporter options that are not used here
        raise RuntimeError("the exporter returned no graph")
    return bytes(program.model_proto.SerializeToString())


def quantised(graph: bytes) -> bytes:
    """Return the graph with int8 weights and activations quantised as they come.

    Every product with a weight becomes an int8 product: weights with a scale a column, activations with a scale
    of their own.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as directory, _quiet():
        source, target = Path(directory) / "float32.onnx", Path(directory) / "int8.onnx"
        source.write_bytes(graph)
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
            extra_options={"MatMulConstBOnly": True},
        )
        return target.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' progress reports from the terminal."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "root")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
