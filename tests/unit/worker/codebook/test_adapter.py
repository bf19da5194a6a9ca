"""Merging a low-rank adapter into a model's weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from worker.codebook.adapter import LowRank, merge
from worker.errors import CodebookMismatch
from worker.model.encoder import WindowBatch
from worker.model.hub import resolve_model
from worker.model.torch_encoder import TruncatedModel
from worker.model.windows import Window

NAME = "encoder.layer.0.attention.self.query"
BATCH = WindowBatch.of([Window(np.arange(1, 12, dtype=np.int32), 0, 11)])


def change(scale: float = 0.5, outward: int = 32, inward: int = 32) -> LowRank:
    random = np.random.default_rng(1)
    down, up = random.normal(size=(2, inward)), random.normal(size=(outward, 2))
    return LowRank((down * scale).astype(np.float16), (up * scale).astype(np.float16))


def model_with(directory: Path, *names: str, scale: float = 0.5) -> TruncatedModel:
    return TruncatedModel(resolve_model(str(directory)), (2,), adapter={name: change(scale) for name in names})


def test_weight_becomes_the_sum() -> None:
    linear = torch.nn.Sequential(torch.nn.Linear(3, 4))
    before = linear[0].weight.detach().clone()
    low_rank = change(outward=4, inward=3)
    merge(linear, {"0": low_rank})
    expected = before.numpy() + low_rank.up.astype(np.float32) @ low_rank.down.astype(np.float32)
    np.testing.assert_allclose(linear[0].weight.detach().numpy(), expected, rtol=1e-6, atol=1e-6)


def test_adapted_model_differs_from_the_plain_one(tiny_bert: Path) -> None:
    plain, adapted = model_with(tiny_bert), model_with(tiny_bert, NAME)
    assert np.abs(plain.activations(BATCH) - adapted.activations(BATCH)).max() > 1e-3


def test_adapter_of_nothing_changes_nothing(tiny_bert: Path) -> None:
    plain, adapted = model_with(tiny_bert), model_with(tiny_bert, NAME, scale=0.0)
    np.testing.assert_array_equal(plain.activations(BATCH), adapted.activations(BATCH))


@pytest.mark.parametrize("name", ["encoder.layer.9.attention.self.query", "encoder", "embeddings.LayerNorm", ""])
def test_adapter_of_another_model_is_refused(tiny_bert: Path, name: str) -> None:
    with pytest.raises(CodebookMismatch, match="adapter"):
        model_with(tiny_bert, name)


def test_adapter_of_other_dimensions_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(CodebookMismatch, match="adapter"):
        TruncatedModel(resolve_model(str(tiny_bert)), (2,), adapter={NAME: change(outward=31)})
