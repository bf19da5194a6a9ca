"""Packed linear maps give what the plain ones give, and a torch without them is no fault."""

import pytest
import torch
from torch import nn

from worker.hardware import has_bfloat16
from worker.model.packed_linear import pack_linear_maps
from worker.model.traced_encoder import TracedEncoder
from worker.screening.assets import load_codebook_and_model, make_torch_encoder
from worker.settings import load_settings

DTYPES = [torch.float32, *([torch.bfloat16] if has_bfloat16() else [])]


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 32, bias=False))
    return layers.to(dtype).requires_grad_(requires_grad=False)


def is_packed(model: nn.Module) -> bool:
    return not any(isinstance(module, nn.Linear) for module in model.modules())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 64, 300])
def test_the_products_are_the_same(rows: int, dtype: torch.dtype) -> None:
    model, x = network(dtype), torch.randn(2, rows, 48).to(dtype)
    with torch.inference_mode():
        expected = model(x)
        assert pack_linear_maps(model)
        assert is_packed(model)
        torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_worker_packs_bfloat16_and_leaves_the_calibrated_arithmetic(dtype: torch.dtype) -> None:
    settings = load_settings(offline=True, threads=1)
    codebook, files = load_codebook_and_model(settings)
    encoder = make_torch_encoder(codebook, files, settings, str(dtype).removeprefix("torch."))
    assert isinstance(encoder, TracedEncoder)
    assert is_packed(encoder._inner.model.model) == (dtype == torch.bfloat16)


def test_a_torch_without_the_operators_keeps_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        pass

    monkeypatch.setattr(torch.ops, "mkldnn", Without())
    model, x = network(), torch.randn(5, 48)
    expected = model(x)
    assert not pack_linear_maps(model)
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize(
    "product",
    [
        "def product(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:\n    raise RuntimeError('avx512bw')",
        "def product(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:\n    return torch.ops.mkldnn._no(x)",
    ],
)
def test_an_operator_that_refuses_or_is_gone_keeps_its_model(product: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.model.packed_linear.PRODUCT", product)
    model = network()
    assert not pack_linear_maps(model)
    assert isinstance(model[0], nn.Linear)


def test_a_processor_they_do_not_serve_keeps_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        @staticmethod
        def _reorder_linear_weight(*_: object) -> None:
            raise RuntimeError("needs avx512bw")

    monkeypatch.setattr(torch.ops, "mkldnn", Refusing())
    model = network()
    assert not pack_linear_maps(model)
    assert isinstance(model[0], nn.Linear)
