"""Folding the basis into the probe changes nothing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.codebook.probe import Basis, Probe, fold


def parts(
    seed: int, layers: int, hidden: int, rank: int, signals: int = 3, heads: int = 2
) -> tuple[Basis, Probe, np.ndarray]:
    random = np.random.default_rng(seed)
    width = layers * hidden

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    basis = Basis(normal(width) * 10, normal(width, rank), 0.9)
    probe = Probe(normal(signals, heads, rank), normal(signals, heads, rank), normal(signals))
    return basis, probe, normal(7, width)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), layers=st.integers(1, 4), hidden=st.integers(1, 9), rank=st.integers(1, 6))
def test_folded_map_equals_basis_then_probe(seed: int, layers: int, hidden: int, rank: int) -> None:
    basis, probe, x = parts(seed, layers, hidden, rank)
    folded = fold(basis, probe, tuple(range(1, layers + 1)))
    by_layer = np.split(x, layers, axis=1)
    got = sum(part @ weight for part, weight in zip(by_layer, folded.weights, strict=True)) + folded.offset
    z = (x.astype(np.float64) - basis.mean) @ basis.components
    expected = np.concatenate([z @ probe.query.reshape(6, -1).T, z @ probe.value.reshape(6, -1).T], axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-2)


def test_every_layer_gets_its_own_weights() -> None:
    folded = fold(*parts(1, 3, 4, 2)[:2], (2, 5, 6))
    assert folded.layers == (2, 5, 6)
    assert [weight.shape for weight in folded.weights] == [(4, 12)] * 3


def test_bias_is_not_touched() -> None:
    basis, probe, _ = parts(1, 2, 4, 2)
    np.testing.assert_array_equal(fold(basis, probe, (1, 2)).bias, probe.bias)


def test_sizes_are_the_probes() -> None:
    basis, probe, _ = parts(1, 2, 4, 2, signals=5, heads=3)
    folded = fold(basis, probe, (1, 2))
    assert (basis.rank, folded.n_signals, folded.n_heads) == (2, 5, 3)
