"""Attention in float32 while an adapter of a bfloat16 model is trained.

On a CPU the backward pass of bfloat16 attention is written without the processor's bfloat16 products: in float32 it
takes a third to two thirds of the time, and attention is a third of a training step's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worker.model.torch_encoder import TruncatedModel

_NAME = "sdpa_float32"


@contextmanager
def attention_in_float32(model: TruncatedModel) -> Iterator[None]:
    """Let the model's attention run in float32 within the block, where transformers can change it."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _sdpa_in_float32)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    changed: Any = model.model
    before = changed.config._attn_implementation  # noqa: SLF001 - transformers has no public name for it
    changed.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        changed.set_attn_implementation(before)


def _sdpa_in_float32(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **keywords: Any
) -> tuple[Any, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    output, _ = sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **keywords)
    return output.to(query.dtype), None
