"""The torch backend as a worker serves with it: as fast as the device allows."""

from typing import Literal

import torch

from worker.codebook.probe import FoldedProbe
from worker.model.compiled_blocks import compile_blocks, compile_variants
from worker.model.encoder import Encoder
from worker.model.packed_linear import pack_linear_maps
from worker.model.parallel_encoder import ParallelEncoder
from worker.model.torch_encoder import TorchEncoder, TruncatedModel, on_one_thread, use_threads
from worker.model.traced_encoder import traced

Tuning = Literal["none", "trace", "compile"]


def serving_encoder(model: TruncatedModel, probe: FoldedProbe, threads: int, tuning: Tuning = "trace") -> Encoder:
    """Return the encoder of a model that will not be changed any more.

    Args:
        model: With its adapter merged. It may be changed in place.
        probe: The folded probe.
        threads: Of the arithmetic on a CPU.
        tuning: ``trace`` the pass on a CPU; ``compile`` the blocks instead; or ``none``, for an encoder that is only
            compared with another.

    Raises:
        SettingsError: The blocks cannot be compiled.
    """
    encoder: Encoder
    on_cpu = model.device.type == "cpu"
    with on_one_thread():  # or what runs here would leave a team of threads behind, see ParallelEncoder
        if tuning == "compile":
            compile_blocks(model)
        elif on_cpu and model.dtype == torch.bfloat16:
            pack_linear_maps(model.model)
        encoder = TorchEncoder(model, probe)
        if on_cpu and tuning == "trace":
            encoder = traced(encoder)
    if on_cpu and threads > 1:
        encoder = ParallelEncoder(encoder, threads, use_threads)
    else:
        use_threads(threads)
    if tuning == "compile":
        compile_variants(encoder, threads if on_cpu else 1)
    return encoder
