"""Traced and compiled passes give what the model gives; where they do not, the model serves."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_models import random_probe
from worker.codebook.probe import FoldedProbe, fold
from worker.errors import SettingsError
from worker.model.compiled_blocks import compile_blocks
from worker.model.encoder import WindowBatch
from worker.model.hub import resolve_model
from worker.model.parallel_encoder import ParallelEncoder
from worker.model.serving import serving_encoder
from worker.model.torch_encoder import TorchEncoder, TruncatedModel
from worker.model.traced_encoder import PROVED_ON, TracedEncoder, traced

LAYERS = (2, 4)
SHAPES = [(1, 1), (1, 9), (2, 30), (3, 20), (7, 3), (16, 24)]


@pytest.fixture(params=["tiny_bert", "tiny_llama"])
def directory(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def model(directory: Path) -> TruncatedModel:
    return TruncatedModel(resolve_model(str(directory)), LAYERS)


@pytest.fixture
def probe() -> FoldedProbe:
    return fold(*random_probe(), LAYERS)


@pytest.fixture
def compilations() -> Iterator[list[int]]:
    """Keep what one test compiles from the others, since it belongs to the code and not to a model.

    Compiling itself needs a C++ compiler; the backends of these tests stand in for it, and may count here.
    """
    torch.compiler.reset()
    yield []
    torch.compiler.reset()


def batch_of(model: TruncatedModel, windows: int, length: int, *, padded: bool = True) -> WindowBatch:
    ids = np.random.default_rng(windows).integers(1, model.model.config.vocab_size, (windows, length))
    lengths = np.maximum(1, length - np.arange(windows) * padded)
    return WindowBatch(ids, np.arange(length) < lengths[:, None])


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_trace_scores_batches_of_any_shape(
    model: TruncatedModel, probe: FoldedProbe, shape: tuple[int, int], padded: bool
) -> None:
    plain, batch = TorchEncoder(model, probe), batch_of(model, *shape, padded=padded)
    trace = traced(plain)
    assert isinstance(trace, TracedEncoder)
    assert trace.name == plain.name
    np.testing.assert_allclose(trace.score(batch), plain.score(batch), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(trace.attribute(batch), plain.attribute(batch))


def test_a_model_that_decides_by_the_batch_is_not_traced(
    model: TruncatedModel, probe: FoldedProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = model.stack[0]
    forward = block.forward
    monkeypatch.setattr(block, "forward", lambda hidden, *a, **k: forward(hidden * int(hidden.shape[1]), *a, **k))
    plain = TorchEncoder(model, probe)
    assert traced(plain) is plain


def test_a_torch_that_traces_no_more_serves_the_model(
    model: TruncatedModel, probe: FoldedProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.jit, "trace")
    plain = TorchEncoder(model, probe)
    assert traced(plain) is plain


@pytest.mark.parametrize("directory", ["tiny_bert"], indirect=True)
def test_a_trace_that_is_wrong_in_one_shape_alone_is_not_used(
    model: TruncatedModel, probe: FoldedProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TorchEncoder(model, probe)
    monkeypatch.setattr(
        "worker.model.traced_encoder._difference", lambda *args: float("nan") if args[-1] == PROVED_ON[1] else 0.0
    )
    assert traced(plain) is plain


@pytest.mark.parametrize("directory", ["tiny_llama"], indirect=True)
def test_a_worker_that_compiles_has_all_variants_before_the_first_job(
    directory: Path, model: TruncatedModel, probe: FoldedProbe, compilations: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_and_run(module: torch.fx.GraphModule, _inputs: object) -> Any:
        compilations.append(len(module.graph.nodes))
        return module.forward

    monkeypatch.setattr("worker.model.serving.compile_blocks", partial(compile_blocks, backend=count_and_run))
    plain = TorchEncoder(TruncatedModel(resolve_model(str(directory)), LAYERS), probe)
    encoder = serving_encoder(model, probe, 4, "compile")
    compiled = len(compilations)
    assert compiled > 1
    for windows, length in SHAPES[1:]:  # the first, of one token, is too rare to be waited for at every start
        for padded in (True, False):
            batch = batch_of(model, windows, length, padded=padded)
            np.testing.assert_allclose(encoder.score(batch), plain.score(batch), rtol=1e-5, atol=1e-5)
    assert len(compilations) == compiled


@pytest.mark.parametrize("directory", ["tiny_bert"], indirect=True)
def test_what_cannot_be_compiled_says_what_is_missing(
    model: TruncatedModel, probe: FoldedProbe, compilations: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr("worker.model.serving.compile_blocks", partial(compile_blocks, backend=refuse))
    with pytest.raises(SettingsError, match=r"FIREWALL_COMPILE.*C\+\+ compiler"):
        serving_encoder(model, probe, 1, "compile")


def test_a_worker_traces_and_takes_every_core(model: TruncatedModel, probe: FoldedProbe) -> None:
    encoder = serving_encoder(model, probe, 2)
    assert isinstance(encoder, ParallelEncoder)
    assert isinstance(encoder._inner, TracedEncoder)


@pytest.mark.parametrize("directory", ["tiny_bert"], indirect=True)
def test_an_older_torch_is_named(model: TruncatedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def older(function: Any, *, dynamic: bool, backend: str) -> Any:
        return function

    monkeypatch.setattr(torch, "compile", older)
    with pytest.raises(SettingsError, match="recompile_limit"):
        compile_blocks(model)
