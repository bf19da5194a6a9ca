"""Packed linear maps give what the plain ones give, and a torch without them is no fault."""

import pytest
import torch
from torch import nn

from worker.model.packed_linear import pack_linear_maps


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 32, bias=False)).requires_grad_(
        requires_grad=False
    )


@pytest.mark.parametrize("rows", [1, 3, 64, 300])
def test_the_products_are_the_same(rows: int) -> None:
    model, x = network(), torch.randn(2, rows, 48)
    with torch.inference_mode():
        expected = model(x)
        assert pack_linear_maps(model)
        assert not any(isinstance(module, nn.Linear) for module in model.modules())
        torch.testing.assert_close(model(x), expected)


def test_a_torch_without_the_operators_keeps_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        pass

    monkeypatch.setattr(torch.ops, "mkldnn", Without())
    model, x = network(), torch.randn(5, 48)
    expected = model(x)
    assert not pack_linear_maps(model)
    assert torch.equal(model(x), expected)


def test_a_processor_they_do_not_serve_keeps_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        _reorder_linear_weight = staticmethod(lambda weight, _rows: weight)

        @staticmethod
        def _linear_pointwise(*_: object) -> None:
            raise RuntimeError("needs avx512bw")

    monkeypatch.setattr(torch.ops, "mkldnn", Refusing())
    model = network()
    assert not pack_linear_maps(model)
    assert isinstance(model[0], nn.Linear)
