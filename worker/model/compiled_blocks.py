"""``torch.compile`` of a model's blocks, for those whom it serves better than a trace (ADR 17)."""

from itertools import product
from typing import Any

import numpy as np
import torch

from worker.errors import SettingsError
from worker.model.encoder import Encoder, WindowBatch
from worker.model.torch_encoder import TruncatedModel

VARIANTS = 64
"""What torch may keep of one function. Each combination of arithmetic, threads, one window or several, with padding or
without is one; beyond torch's own limit of 8 it would silently compile no more."""


def compile_blocks(model: TruncatedModel, *, backend: str = "inductor") -> None:
    """Have every block compiled for batches of any shape, in place, when it first meets each variant.

    Args:
        model: The model; its adapter is merged.
        backend: See ``torch.compile``.

    Raises:
        SettingsError: This torch cannot keep so many variants.
    """
    limit: dict[str, Any] = {"recompile_limit": VARIANTS}  # not in the types of torch 2.13
    try:
        for block in model.stack:
            # The forward alone: the hooks around it hand activations out and are Python.
            block.forward = torch.compile(block.forward, dynamic=True, backend=backend, **limit)
    except TypeError as error:
        raise SettingsError(
            f"FIREWALL_COMPILE needs a torch.compile that takes recompile_limit; torch {torch.__version__} has none. "
            "Install a newer torch (2.13 does), or unset FIREWALL_COMPILE."
        ) from error


def compile_variants(encoder: Encoder, threads: int) -> None:
    """Run batches of all variants, each of which would else be compiled while a job waits for it.

    Args:
        encoder: As it will serve: what is compiled holds for one number of threads.
        threads: Parts it cuts batches into.

    Raises:
        SettingsError: They cannot be compiled here.
    """
    try:
        # Fewer windows than threads run whole, with all threads; others in parts of one window or several.
        for windows, length, padded in product(sorted({1, 2, threads, 2 * threads}), (16, 40), (False, True)):
            mask = np.ones((windows, length), dtype=np.bool_)
            mask[-1, length // 2 :] = not padded
            encoder.score(WindowBatch(mask.astype(np.int64), mask))
    except (RuntimeError, OSError) as error:  # what a missing compiler, linker or header comes as
        raise SettingsError(
            f"FIREWALL_COMPILE: torch.compile failed ({type(error).__name__}: {str(error).partition(chr(10))[0]}). It "
            "needs a C++ compiler on this machine (on a GPU, Triton as well); install it, or unset FIREWALL_COMPILE."
        ) from error
