"""The exported graph gives what the torch backend gives, for an encoder and a decoder, at every batch shape."""

from pathlib import Path

import numpy as np
import pytest

from tests.tiny_models import random_probe
from worker.codebook.probe import FoldedProbe, fold
from worker.errors import ExportInvalid
from worker.model.encoder import WindowBatch
from worker.model.hub import ModelFiles, resolve_model
from worker.model.onnx_encoder import OnnxEncoder
from worker.model.onnx_export import export_graph, quantised
from worker.model.torch_encoder import TorchEncoder, TruncatedModel
from worker.model.windows import Window

SIZE = 24
CLOSE: dict[str, float] = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module", params=["tiny_bert", "tiny_llama"])
def files(request: pytest.FixtureRequest) -> ModelFiles:
    directory: Path = request.getfixturevalue(request.param)
    return resolve_model(str(directory))


@pytest.fixture(scope="module")
def folded() -> FoldedProbe:
    return fold(*random_probe(), (2, 4))


@pytest.fixture(scope="module")
def torch_encoder(files: ModelFiles, folded: FoldedProbe) -> TorchEncoder:
    return TorchEncoder(TruncatedModel(files, (2, 4)), folded)


@pytest.fixture(scope="module")
def graph(files: ModelFiles, folded: FoldedProbe) -> bytes:
    return export_graph(TruncatedModel(files, (2, 4)), folded, window=SIZE)


@pytest.fixture(scope="module")
def encoder(graph: bytes) -> OnnxEncoder:
    return OnnxEncoder(graph, dtype="float32", threads=1)


def batch_of(*lengths: int) -> WindowBatch:
    random = np.random.default_rng(sum(lengths))
    return WindowBatch.of([Window(random.integers(1, 60, n).astype(np.int32), 0, n) for n in lengths])


SHAPES = [(2,), (SIZE,), (5, 5), (3, 9, 17), (SIZE, 4, SIZE, 2, 11), tuple(range(2, SIZE))]


@pytest.mark.parametrize("lengths", SHAPES)
def test_logits_and_shares_are_the_torch_backends(
    encoder: OnnxEncoder, torch_encoder: TorchEncoder, lengths: tuple[int, ...]
) -> None:
    batch = batch_of(*lengths)
    np.testing.assert_allclose(encoder.score(batch), torch_encoder.score(batch), **CLOSE)
    np.testing.assert_allclose(encoder.attribute(batch), torch_encoder.attribute(batch), **CLOSE)
    assert encoder.score(batch).dtype == np.float32


def test_what_lies_under_the_padding_does_not_matter(encoder: OnnxEncoder) -> None:
    batch = batch_of(4, 20)
    ids = np.where(batch.mask, batch.ids, 7)
    np.testing.assert_allclose(encoder.score(WindowBatch(ids, batch.mask)), encoder.score(batch), **CLOSE)
    assert (encoder.attribute(batch)[~batch.mask] == 0).all()


def test_int8_graph_is_smaller_and_scores_nearly_alike(graph: bytes, torch_encoder: TorchEncoder) -> None:
    small = quantised(graph)
    assert len(small) < len(graph)
    encoder = OnnxEncoder(small, dtype="int8", threads=1)
    assert encoder.name == "onnx-int8"
    batch = batch_of(3, 9, 17)
    expected = torch_encoder.score(batch)
    found = encoder.score(batch)
    assert not np.array_equal(found, expected)
    assert np.abs(found - expected).max() < 0.25 * np.abs(expected).max()


@pytest.mark.parametrize("damaged", [b"", b"no graph", None])
def test_what_is_no_graph_is_refused(graph: bytes, damaged: bytes | None) -> None:
    with pytest.raises(ExportInvalid, match="export again"):
        OnnxEncoder(graph[: len(graph) // 2] if damaged is None else damaged, dtype="float32", threads=1)


def test_a_graph_with_other_outputs_is_refused() -> None:
    from onnx import TensorProto, helper

    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    same = helper.make_tensor_value_info("same", TensorProto.INT64, ["n"])
    model = helper.make_model(
        helper.make_graph([helper.make_node("Identity", ["ids"], ["same"])], "g", [ids], [same]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    with pytest.raises(ExportInvalid, match="inputs and outputs"):
        OnnxEncoder(model.SerializeToString(), dtype="float32", threads=1)
