"""Attention in float32 gives what the model's own gives, with gradients, and is taken back."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from worker.fitting import attention
from worker.fitting.attention import attention_in_float32
from worker.model.encoder import WindowBatch
from worker.model.hub import resolve_model
from worker.model.torch_encoder import TruncatedModel
from worker.model.windows import Window


@pytest.fixture(params=["tiny_bert", "tiny_llama"])
def model(request: pytest.FixtureRequest) -> TruncatedModel:
    directory: Path = request.getfixturevalue(request.param)
    return TruncatedModel(resolve_model(str(directory)), (2,), dtype="bfloat16")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Dtypes that attention's products are computed in."""
    dtypes: list[torch.dtype] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(query: torch.Tensor, *args: Any, **keywords: Any) -> torch.Tensor:
        dtypes.append(query.dtype)
        return original(query, *args, **keywords)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    return dtypes


def batch_of(*lengths: int) -> WindowBatch:
    return WindowBatch.of([Window(np.arange(3, 3 + n, dtype=np.int32), 0, n) for n in lengths])


def test_activations_stay_and_attention_is_float32_within_the_block_only(
    model: TruncatedModel, seen: list[torch.dtype]
) -> None:
    batch = batch_of(5, 9, 2)
    expected = model.activations(batch)
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    with attention_in_float32(model):
        got = model.activations(batch)
    assert set(seen) == {torch.float32}
    scale = np.abs(expected[batch.mask]).max()
    assert np.abs(got - expected)[batch.mask].max() < 0.05 * scale
    seen.clear()
    model.activations(batch)
    assert set(seen) == {torch.bfloat16}


def test_it_is_taken_back_after_an_error(model: TruncatedModel) -> None:
    before = model.model.config._attn_implementation
    with suppress(ZeroDivisionError), attention_in_float32(model):
        assert model.model.config._attn_implementation == attention._NAME
        _ = 1 / 0
    assert model.model.config._attn_implementation == before
