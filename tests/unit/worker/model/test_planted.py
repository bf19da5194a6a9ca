"""A model directory from anyone: a checkpoint that would run code is refused, and none of it is run."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.planted import planted_pickle
from worker.codebook.format import load_codebook
from worker.errors import CodebookInvalid, UnsafeWeights
from worker.model.hub import INDEX, WHOLE, resolve_model
from worker.model.torch_encoder import TruncatedModel
from worker.model.windows import WindowTokenizer

Plant = Callable[[Path, bytes], None]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Is there once a planted pickle was loaded."""
    return tmp_path / "was-executed"


@pytest.fixture
def model(tiny_bert: Path, tmp_path: Path) -> Path:
    """A model of one's own to plant something in."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def load(model: Path) -> TruncatedModel:
    return TruncatedModel(resolve_model(str(model)), (1,))


def configure(model: Path, **fields: object) -> None:
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def in_place_of_the_weights(model: Path, planted: bytes) -> None:
    (model / WHOLE).unlink()
    (model / "pytorch_model.bin").write_bytes(planted)


def behind_an_index(model: Path, planted: bytes) -> None:
    (model / WHOLE).rename(model / "model-00001-of-00001.safetensors")
    (model / "pytorch_model.bin").write_bytes(planted)
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"embeddings": "pytorch_model.bin"}}))


def elsewhere_behind_an_index(model: Path, planted: bytes) -> None:
    (model / WHOLE).rename(model / "model-00001-of-00001.safetensors")
    (model.parent / "pytorch_model.bin").write_bytes(planted)
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"embeddings": "../pytorch_model.bin"}}))


def behind_an_index_that_is_none(model: Path, planted: bytes) -> None:
    (model / WHOLE).rename(model / "model-00001-of-00001.safetensors")
    (model / INDEX).write_bytes(planted)


def named_by_the_configuration(model: Path, planted: bytes) -> None:
    (model / "adapter_model.bin").write_bytes(planted)
    configure(model, transformers_weights="adapter_model.bin")


def other_safetensors_named_by_the_configuration(model: Path, planted: bytes) -> None:
    shutil.copy(model / WHOLE, model / "other.safetensors")
    configure(model, transformers_weights="other.safetensors")


PLACES = (
    in_place_of_the_weights,
    behind_an_index,
    elsewhere_behind_an_index,
    behind_an_index_that_is_none,
    named_by_the_configuration,
    other_safetensors_named_by_the_configuration,
)


def test_the_trap_works(trace: Path) -> None:
    pickle.loads(planted_pickle(trace))
    assert trace.exists()


@pytest.mark.parametrize("plant", PLACES, ids=lambda plant: plant.__name__)
def test_a_planted_checkpoint_is_refused_and_not_executed(model: Path, trace: Path, plant: Plant) -> None:
    plant(model, planted_pickle(trace))
    with pytest.raises(UnsafeWeights):
        load(model)
    assert not trace.exists()


def test_a_pickle_by_the_name_of_safetensors_is_not_executed(model: Path, trace: Path) -> None:
    (model / WHOLE).write_bytes(planted_pickle(trace))
    with pytest.raises(Exception, match=r"(?i)header"):
        load(model)
    assert not trace.exists()


def test_a_pickle_for_a_tokenizer_is_not_executed(model: Path, trace: Path) -> None:
    (model / "tokenizer.json").write_bytes(planted_pickle(trace))
    with pytest.raises(Exception, match=r"(?i)utf-8|expected"):
        WindowTokenizer(model / "tokenizer.json", size=16, overlap=4)
    assert not trace.exists()


def test_a_pickle_for_a_codebook_is_refused_and_not_executed(tmp_path: Path, trace: Path) -> None:
    path = tmp_path / "codebook.safetensors"
    path.write_bytes(planted_pickle(trace))
    with pytest.raises(CodebookInvalid):
        load_codebook(path)
    assert not trace.exists()


def test_code_that_comes_with_a_model_is_not_run(model: Path, trace: Path) -> None:
    (model / "modeling.py").write_text(f"from pathlib import Path\nPath({str(trace)!r}).touch()\n")
    configure(model, auto_map={"AutoConfig": "modeling.Config", "AutoModel": "modeling.Model"})
    load(model)
    assert not trace.exists()


def test_a_model_of_a_kind_that_needs_its_own_code_is_refused(model: Path, trace: Path) -> None:
    (model / "modeling.py").write_text(f"from pathlib import Path\nPath({str(trace)!r}).touch()\n")
    configure(model, model_type="homemade", auto_map={"AutoConfig": "modeling.Config", "AutoModel": "modeling.Model"})
    with pytest.raises(ValueError, match=r"trust_remote_code|homemade"):
        load(model)
    assert not trace.exists()


def test_shards_that_an_index_names_are_loaded(model: Path) -> None:
    shard = "model-00001-of-00001.safetensors"
    (model / WHOLE).rename(model / shard)
    from safetensors import safe_open

    with safe_open(model / shard, "pt") as opened:
        names = list(opened.keys())
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)}))
    assert len(load(model).stack) == 1
