"""A low-rank adapter of the model's linear maps, merged into the weights at load: free at run time.

LoRA: E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021). A map's weight ``W`` becomes
``W + up @ down``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from worker.errors import CodebookMismatch

if TYPE_CHECKING:
    from torch import nn

HalfArray = npt.NDArray[np.float16]


@dataclass(frozen=True)
class LowRank:
    """The change of one linear map.

    Attributes:
        down: float16 ``(rank, in_features)``.
        up: float16 ``(out_features, rank)``.
    """

    down: HalfArray
    up: HalfArray


Adapter = Mapping[str, LowRank]
"""Changes by the module's dotted name within the model, for example ``encoder.layer.0.attention.self.query``."""


def merge(model: "nn.Module", adapter: Adapter) -> None:
    """Add the adapter to the model's weights in place.

    The sum is taken in float32, so that a bfloat16 model rounds once.

    Raises:
        CodebookMismatch: A module is not in the model or has other dimensions.
    """
    import torch

    modules = dict(model.named_modules())
    for name, change in adapter.items():
        module = modules.get(name)
        shape = (change.up.shape[0], change.down.shape[1])
        weight = getattr(module, "weight", None)
        if not isinstance(module, torch.nn.Linear) or weight is None or tuple(weight.shape) != shape:
            raise CodebookMismatch(f"the codebook's adapter changes {name} {shape}, which the model does not have")
        up, down = (torch.from_numpy(half).to(weight.device, torch.float32) for half in (change.up, change.down))
        with torch.no_grad():
            weight.copy_(torch.addmm(weight.float(), up, down))
