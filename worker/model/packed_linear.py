"""Linear maps whose weights lie in memory as the matrix kernel of the processor wants them.

torch's own ``Linear`` rearranges its weight at every call, which costs a short text a third of its pass and a long
batch a twentieth. The operators are oneDNN's, as ``torch.compile`` uses them when it freezes a model on a CPU.
"""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

PRODUCT = """
def product(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    none = torch.jit.annotate(List[Optional[number]], [])
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", none, "")
"""
"""TorchScript: called from Python, the operator has an argument that `torch.jit.trace` cannot record."""

TYPICAL_ROWS = 2048
"""Rows of the product the arrangement is chosen for: a core's part of a full batch. Any other number works."""


def pack_linear_maps(model: "nn.Module") -> bool:
    """Put every linear map of a model into packed form, in place; the weights cannot be changed any more.

    Args:
        model: On a CPU, in bfloat16, not to be trained.

    Returns:
        Whether it was done. The operators are private to torch: one that has them no more leaves the model as it is.
    """
    import torch
    from torch import nn

    class PackedLinear(nn.Module):
        def __init__(self, linear: nn.Linear) -> None:
            super().__init__()
            # Packing may keep the order and share the memory, which is a file's if the weights are mapped.
            packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().clone(), TYPICAL_ROWS)  # noqa: SLF001
            self.register_buffer("weight", packed)
            self.bias = linear.bias

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mapped: torch.Tensor = product(x, self.weight, self.bias)
            return mapped

    maps = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    with torch.inference_mode():
        try:
            product = torch.jit.CompilationUnit(PRODUCT).product
            packed = {name: PackedLinear(linear) for name, linear in maps.items()}
            for name, linear in maps.items():
                packed[name](linear.weight[:1])
        except (AttributeError, RuntimeError) as error:  # a torch without the operators, a processor they do not serve
            log.info("linear maps stay unpacked (%s): short texts take a third longer", type(error).__name__)
            return False
    for name, module in packed.items():
        model.set_submodule(name, module)
    return True
