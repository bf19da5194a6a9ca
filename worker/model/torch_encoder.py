"""The torch backend: any Hugging Face decoder or encoder, cut after the deepest probed layer.

Layer ``i`` means the output of the ``i``-th transformer block (1-based), which is ``hidden_states[i]`` of
the full model. The one exception is the last layer of decoders whose ``hidden_states[-1]`` has gone through
the final norm: here it has not.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.codebook.adapter import Adapter, merge
from worker.codebook.probe import FoldedProbe
from worker.errors import MissingExtra, UnsafeWeights, UnsupportedModel
from worker.model.encoder import FloatArray, WindowBatch
from worker.model.hub import ModelFiles

if TYPE_CHECKING:
    import torch
    from torch import nn

Capture = Callable[[int, "torch.Tensor"], None]


def require_torch() -> None:
    """Check that torch and transformers are installed.

    Raises:
        MissingExtra: One of them is not.
    """
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            f"{error.name} is not installed. Install the torch backend with: "
            "pip install 'alknet-firewall[torch]' (a CPU build of torch that is already there is kept)."
        ) from error


class TruncatedModel:
    """A model's blocks up to the deepest layer asked for; no LM head, no pooler, no cache.

    Args:
        files: The model's files.
        layers: Layers to look at, 1-based.
        dtype: ``float32`` or ``bfloat16``.
        device: Torch device.
        adapter: Changes to merge into the weights.

    Raises:
        MissingExtra: torch or transformers is not installed.
        UnsupportedModel: No stack of blocks was found, or it is not as deep as the layers asked for.
        UnsafeWeights: The configuration leads to other weights than those that were checked.
        CodebookMismatch: The adapter does not fit the model.
    """

    def __init__(
        self,
        files: ModelFiles,
        layers: tuple[int, ...],
        *,
        dtype: str = "float32",
        device: str = "cpu",
        adapter: Adapter | None = None,
    ):
        require_torch()
        import torch
        from transformers import AutoConfig

        self.layers = layers
        self.device = torch.device(device)
        self.dtype: torch.dtype = getattr(torch, dtype)
        config = AutoConfig.from_pretrained(files.directory, trust_remote_code=False)
        if getattr(config, "transformers_weights", None) is not None:
            # Transformers would load that file, whatever it is, in place of the one whose hash was checked.
            raise UnsafeWeights(f"{files.name}: config.json names weights of its own (transformers_weights); remove it")
        depth = getattr(config, "num_hidden_layers", 0)
        if not layers or min(layers) < 1 or max(layers) > depth:
            raise UnsupportedModel(f"layers {layers} were asked for, {files.name} has layers 1 to {depth}")
        config.num_hidden_layers = max(layers)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: max(layers)]
        self.hidden = int(config.hidden_size)
        self.max_tokens = int(getattr(config, "max_position_embeddings", 1 << 30))
        self.model = self._load(files, config)
        self.stack = _find_blocks(self.model, max(layers))
        # One capture for each thread: windows may run through the blocks in several threads at once.
        self._current = threading.local()
        for layer in layers:
            self.stack[layer - 1].register_forward_hook(self._hook_of(layer))
        _bypass_final_norm(self.model)
        merge(self.model, adapter or {})

    def _load(self, files: ModelFiles, config: Any) -> "nn.Module":
        from transformers import AutoModel

        with quiet():
            model = AutoModel.from_pretrained(
                files.directory,
                config=config,
                dtype=self.dtype,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="sdpa",
            )
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        loaded: nn.Module = model.to(self.device).eval().requires_grad_(requires_grad=False)
        return loaded

    def run(self, batch: WindowBatch, capture: Capture, *, gradients: bool = False) -> "torch.Tensor":
        """Run the blocks and hand every asked-for layer's output to ``capture`` as it comes.

        Args:
            batch: The windows.
            capture: Called with the layer and its activation, model dtype ``(n_windows, length, hidden)``.
            gradients: Keep the graph, for fitting an adapter.

        Returns:
            The mask as a bool tensor ``(n_windows, length)`` on the model's device.
        """
        import torch

        ids, mask = self.tensors(batch)
        with torch.inference_mode(mode=not gradients):
            self.forward(ids, mask, capture)
        return mask

    def tensors(self, batch: WindowBatch) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return ids int64 and mask bool, both ``(n_windows, length)``, on the model's device."""
        import torch

        ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
        if self.device.type == "cuda":
            # From pinned memory the copy goes on beside the passes that are still queued on the device.
            ids, mask = ids.pin_memory(), mask.pin_memory()
        return ids.to(self.device, non_blocking=True), mask.to(self.device, non_blocking=True)

    def forward(self, ids: "torch.Tensor", mask: "torch.Tensor", capture: Capture) -> None:
        """Run the blocks on tensors; see ``run``. Several threads may do so at once."""
        self._current.capture = capture
        try:
            self.model(input_ids=ids, attention_mask=mask.long(), **self._keywords())
        finally:
            self._current.capture = None

    def _hook_of(self, layer: int) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            capture = getattr(self._current, "capture", None)
            if capture is not None:
                capture(layer, output[0] if isinstance(output, tuple) else output)

        return hook

    def activations(self, batch: WindowBatch) -> FloatArray:
        """Return the layers' activations side by side, float32 ``(n_windows, length, n_layers * hidden)``.

        For fitting and tests; scoring never keeps them.
        """
        import torch

        kept: list[torch.Tensor] = []
        self.run(batch, lambda _layer, hidden: kept.append(hidden.float()))
        return np.asarray(torch.cat(kept, dim=-1).cpu().numpy(), dtype=np.float32)

    def _keywords(self) -> dict[str, object]:
        return {"use_cache": False} if "use_cache" in self.model.config.to_dict() else {}  # type: ignore[operator, union-attr]


class TorchEncoder:
    """The truncated model with the folded probe inside its forward pass.

    Attributes:
        model: The model.
        name: Backend and arithmetic.
    """

    def __init__(self, model: TruncatedModel, probe: FoldedProbe):
        import torch

        self.model = model
        self.name = f"torch-{str(model.dtype).removeprefix('torch.')}"
        self._n_signals, self._n_heads = probe.n_signals, probe.n_heads
        self._weights = {
            layer: torch.from_numpy(weight).to(model.device, model.dtype)
            for layer, weight in zip(probe.layers, probe.weights, strict=True)
        }
        self._offset = torch.from_numpy(probe.offset).to(model.device)
        self._bias = torch.from_numpy(probe.bias).to(model.device)

    def score(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.score``."""
        import torch

        with torch.inference_mode():
            return numpy_of(self.logits(self.shares(*self.model.tensors(batch))))

    def attribute(self, batch: WindowBatch) -> FloatArray:
        """See ``Encoder.attribute``."""
        import torch

        with torch.inference_mode():
            return numpy_of(self.shares(*self.model.tensors(batch)))

    def logits(self, shares: "torch.Tensor") -> "torch.Tensor":
        """Return the logits, float32 ``(n_windows, n_signals)``, of tokens' shares."""
        return shares.sum(dim=1) + self._bias

    def shares(self, ids: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        """Return each token's share of the logits, float32 ``(n_windows, length, n_signals)``.

        Args:
            ids: int64 ``(n_windows, length)``.
            mask: bool, of the same shape.
        """
        import torch

        total: list[torch.Tensor] = []

        def project(layer: int, hidden: torch.Tensor) -> None:
            part = (hidden @ self._weights[layer]).float()
            total.append(part if not total else total.pop().add_(part))

        self.model.forward(ids, mask, project)
        queries_values = total[0] + self._offset
        shape = (*mask.shape, 2, self._n_signals, self._n_heads)
        queries, values = queries_values.view(shape).unbind(dim=2)
        weights = queries.masked_fill(~mask[:, :, None, None], -torch.inf).softmax(dim=1)
        return (weights * values).sum(dim=-1)


def numpy_of(tensor: "torch.Tensor") -> FloatArray:
    """Return a tensor in float32, wherever it lies."""
    return np.asarray(tensor.float().cpu().numpy(), dtype=np.float32)


def _find_blocks(model: "nn.Module", depth: int) -> "nn.ModuleList":
    """Return the stack of transformer blocks: the first ModuleList of the model's depth."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise UnsupportedModel(f"{type(model).__name__} has no list of {depth} blocks; use a plain decoder or encoder")


def _bypass_final_norm(model: "nn.Module") -> None:
    """Replace a decoder's norm behind the last block: nothing reads its output, so it is wasted work."""
    from torch import nn

    for name in ("norm", "ln_f", "final_layer_norm"):
        if isinstance(getattr(model, name, None), nn.Module):
            setattr(model, name, nn.Identity())


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers: a truncated model leaves the deeper layers' weights unused on purpose."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)


def use_threads(threads: int) -> None:
    """Use so many threads for arithmetic; torch's own default counts the machine's cores, not the container's."""
    require_torch()
    import torch

    torch.set_num_threads(threads)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Use one thread for the arithmetic of the thread that calls, and then as many as before."""
    require_torch()
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
