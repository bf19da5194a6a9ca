"""The onnxruntime backend: an exported graph on the CPU, with no torch installed."""

from typing import Any

import numpy as np

from worker.errors import ExportInvalid, MissingExtra
from worker.model.encoder import FloatArray, WindowBatch

INPUTS = ("ids", "mask")
OUTPUTS = ("logits", "shares")


def require_onnxruntime() -> None:
    """Check that onnxruntime is installed.

    Raises:
        MissingExtra: It is not.
    """
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        raise MissingExtra(
            "onnxruntime is not installed. Install this backend with: pip install 'alknet-firewall[onnx]'"
        ) from None


class OnnxEncoder:
    """An exported graph.

    Args:
        graph: The ONNX file's bytes. Given as bytes, it cannot refer to data in other files.
        dtype: Arithmetic of the graph, for the name.
        threads: Threads of its arithmetic.

    Raises:
        MissingExtra: onnxruntime is not installed.
        ExportInvalid: onnxruntime does not take the graph, or it is none of ours.
    """

    def __init__(self, graph: bytes, *, dtype: str, threads: int):
        require_onnxruntime()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - its exceptions share no public base
            raise ExportInvalid(
                f"onnxruntime {onnxruntime.__version__} does not take the exported graph ({type(error).__name__}); "
                "export again with the libraries of this version"
            ) from None
        names = tuple(tuple(entry.name for entry in side) for side in (self._inputs(), self._session.get_outputs()))
        if names != (INPUTS, OUTPUTS):
            raise ExportInvalid(f"the graph has inputs and outputs {names}, expected {(INPUTS, OUTPUTS)}")
        self.name = f"onnx-{dtype}"

    def score(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.score``."""
        return self._run("logits", batch)

    def attribute(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.attribute``."""
        return self._run("shares", batch)

    def _run(self, output: str, batch: WindowBatch) -> FloatArray:
        (found,) = self._session.run([output], {"ids": batch.ids, "mask": batch.mask})
        return np.asarray(found, dtype=np.float32)

    def _inputs(self) -> list[Any]:
        inputs: list[Any] = self._session.get_inputs()
        return inputs
