"""The codebook's file: what is written comes back, and what is damaged is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.unit.fakes import make_codebook
from worker.codebook import format as codebook_format
from worker.codebook.format import HEADER_KEY, Codebook, load_codebook, save_codebook
from worker.codebook.shipped import codebook_path
from worker.errors import CodebookInvalid, CodebookNotFound
from worker.model.pinned import MINILM, SMOLLM2

Tensors = dict[str, Any]
Change = Callable[[Tensors, dict[str, Any]], None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("codebook") / "original.safetensors"
    save_codebook(make_codebook(strata=(24,)), path)
    return path


@pytest.fixture
def changed(original: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """Write the file again after a change of its tensors or header."""

    def change_it(change: Change) -> Path:
        blob = original.read_bytes()
        length = int.from_bytes(blob[:8], "little")
        header = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"][HEADER_KEY])
        tensors = dict(load(blob))
        change(tensors, header)
        path = tmp_path / "changed.safetensors"
        path.write_bytes(save(tensors, metadata={HEADER_KEY: json.dumps(header)}))
        return path

    return change_it


def test_unchanged_copy_loads(changed: Callable[[Change], Path]) -> None:
    assert isinstance(load_codebook(changed(lambda tensors, header: None)), Codebook)


def test_file_round_trips_byte_by_byte(original: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_codebook(load_codebook(original), again)
    assert again.read_bytes() == original.read_bytes()


def test_loaded_codebook_equals_the_saved_one(original: Path) -> None:
    loaded, made = load_codebook(original), make_codebook(strata=(24,))
    assert loaded.header == made.header
    np.testing.assert_array_equal(loaded.probe.query, made.probe.query)
    np.testing.assert_array_equal(loaded.benign_scores, made.benign_scores)
    np.testing.assert_array_equal(loaded.distributions[1][2].y, made.distributions[1][2].y)
    assert loaded.distributions[1][2].scale == made.distributions[1][2].scale


def test_fingerprint_is_the_start_of_the_files_hash(original: Path, tmp_path: Path) -> None:
    import hashlib

    digest = hashlib.sha256(original.read_bytes()).hexdigest()
    assert load_codebook(original).fingerprint == digest[:16]
    assert save_codebook(make_codebook(strata=(24,)), tmp_path / "f") == digest[:16]


def test_another_codebook_has_another_fingerprint(original: Path, tmp_path: Path) -> None:
    assert save_codebook(make_codebook(seed=6), tmp_path / "f") != load_codebook(original).fingerprint


def test_strata_border_belongs_to_the_upper_stratum() -> None:
    book = make_codebook(strata=(24,))
    assert book.stratum_of(np.array([1, 23, 24, 10_000], np.int32)).tolist() == [0, 0, 1, 1]


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CodebookNotFound, match="alknet-firewall calibrate"):
        load_codebook(tmp_path / "none.safetensors")


def test_directory_is_no_codebook(tmp_path: Path) -> None:
    with pytest.raises(CodebookNotFound):
        load_codebook(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_truncated_file_is_refused(original: Path, tmp_path: Path, share: float) -> None:
    blob = original.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(blob[: int(len(blob) * share)])
    with pytest.raises(CodebookInvalid):
        load_codebook(path)


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_are_refused(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "random.safetensors"
    path.write_bytes(np.random.default_rng(seed).bytes(4096))
    with pytest.raises(CodebookInvalid):
        load_codebook(path)


@pytest.mark.parametrize("header", [b"{}", b"[]", b"null", b"[" * 5000, b'{"__metadata__":{"a":"b"}}'])
def test_odd_safetensors_header_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CodebookInvalid):
        load_codebook(path)


@pytest.mark.parametrize("length", [2**63, 2**40, 200_000_000])
def test_huge_header_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "huge.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}" * 100)
    with pytest.raises(CodebookInvalid):
        load_codebook(path)


def test_file_over_the_size_limit_is_refused(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebook_format, "MAX_BYTES", 100)
    with pytest.raises(CodebookInvalid, match="100 bytes"):
        load_codebook(original)


def set_tensor(name: str, value: Callable[[Any], Any]) -> Change:
    def change(tensors: Tensors, header: dict[str, Any]) -> None:
        tensors[name] = np.ascontiguousarray(value(tensors[name].copy()))

    return change


def poke(name: str, number: float) -> Change:
    def value(tensor: Any) -> Any:
        tensor.flat[0] = number
        return tensor

    return set_tensor(name, value)


SPLINE = "spline.0.jailbreak"

BAD_TENSORS: dict[str, Change] = {
    "NaN in the probe": poke("probe.query", np.nan),
    "infinity in the basis": poke("basis.components", np.inf),
    "NaN in a spline": poke(f"{SPLINE}.x", np.nan),
    "NaN in the benign scores": poke("benign.scores", np.nan),
    "spline that rises": set_tensor(f"{SPLINE}.y", lambda y: y[::-1]),
    "spline over zero": set_tensor(f"{SPLINE}.y", lambda y: y + 1),
    "knots that do not ascend": set_tensor(f"{SPLINE}.x", lambda x: x[::-1]),
    "knots without values": set_tensor(f"{SPLINE}.x", lambda x: x[:-1]),
    "spline of one knot": lambda t, h: t.update(
        {f"{SPLINE}.x": t[f"{SPLINE}.x"][:1], f"{SPLINE}.y": t[f"{SPLINE}.y"][:1]}
    ),
    "tail of negative shape": set_tensor(f"{SPLINE}.tail", lambda tail: np.array([-0.5, 1.0])),
    "tail of infinite mean": set_tensor(f"{SPLINE}.tail", lambda tail: np.array([1.5, 1.0])),
    "tail without scale": set_tensor(f"{SPLINE}.tail", lambda tail: np.array([0.1, 0.0])),
    "missing tensor": lambda t, h: t.pop("probe.bias"),
    "unknown tensor": lambda t, h: t.update({"surplus": np.zeros(3, np.float32)}),
    "wrong dtype": set_tensor("probe.query", lambda q: q.astype(np.float64)),
    "integer scores": set_tensor("benign.scores", lambda s: s.astype(np.int32)),
    "one signal too few": set_tensor("probe.bias", lambda b: b[:-1]),
    "one dimension too many": set_tensor("basis.mean", lambda m: m[None]),
    "basis of another width": set_tensor("basis.mean", lambda m: m[:-2]),
    "width not divisible by layers": lambda t, h: t.update(
        {"basis.mean": t["basis.mean"][:-1], "basis.components": np.ascontiguousarray(t["basis.components"][:-1])}
    ),
    "query and value differ": set_tensor("probe.value", lambda v: v[:, :1]),
    "rank differs from the basis": set_tensor("basis.components", lambda c: c[:, :-1]),
    "tokens without scores": set_tensor("benign.tokens", lambda n: n[:-1]),
    "golden scores without texts": set_tensor("golden.scores", lambda g: g[:-1]),
    "empty tensor": set_tensor("benign.tokens", lambda n: n[:0]),
    "document of no tokens": poke("benign.tokens", 0),
    "numbers that overflow": poke(f"{SPLINE}.x", -1e300),
    "spline that falls too steeply": set_tensor(f"{SPLINE}.x", lambda x: np.arange(len(x)) * 1e-40),
    "tail without width": set_tensor(f"{SPLINE}.tail", lambda tail: np.array([0.1, 1e-300])),
    "stratum with too few benign documents": set_tensor("benign.tokens", lambda n: np.full_like(n, 3)),
}


@pytest.mark.parametrize("change", BAD_TENSORS.values(), ids=BAD_TENSORS.keys())
def test_bad_tensor_is_refused(changed: Callable[[Change], Path], change: Change) -> None:
    with pytest.raises(CodebookInvalid):
        load_codebook(changed(change))


def set_header(*keys: str, value: Any) -> Change:
    def change(tensors: Tensors, header: dict[str, Any]) -> None:
        place = header
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


BAD_HEADERS: dict[str, Change] = {
    "future format": set_header("format_version", value=2),
    "unknown field": set_header("surprise", value=1),
    "unknown signal": set_header("signals", value=["telepathy"]),
    "a signal twice": lambda t, h: h.update({"signals": [h["signals"][0]] * len(h["signals"])}),
    "strata that do not ascend": set_header("strata", value=[128, 32]),
    "strata with a border twice": set_header("strata", value=[32, 32]),
    "stratum at zero": set_header("strata", value=[0]),
    "no layers": set_header("model", "layers", value=[]),
    "layer zero": set_header("model", "layers", value=[0, 1]),
    "layers that do not ascend": set_header("model", "layers", value=[2, 1]),
    "a layer twice": set_header("model", "layers", value=[1, 1]),
    "hash that is none": set_header("model", "weights_sha256", value="abc"),
    "window too small": set_header("window", "size", value=2),
    "overlap as long as the window": set_header("window", "overlap", value=16),
    "no golden texts": set_header("golden", "texts", value=[]),
    "tolerance of zero": set_header("golden", "tolerance", value=0),
    "infinite tolerance": set_header("golden", "tolerance", value=float("inf")),
    "NaN for the explained variance": set_header("explained_variance", value=float("nan")),
}


@pytest.mark.parametrize("change", BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_bad_header_is_refused(changed: Callable[[Change], Path], change: Change) -> None:
    with pytest.raises(CodebookInvalid):
        load_codebook(changed(change))


def test_message_names_file_and_fault(changed: Callable[[Change], Path]) -> None:
    with pytest.raises(CodebookInvalid, match=r"changed\.safetensors.*format_version"):
        load_codebook(changed(set_header("format_version", value=2)))


def test_tensor_of_a_type_numpy_does_not_know_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save as save_torch

    path = tmp_path / "bf16.safetensors"
    path.write_bytes(save_torch({"probe.query": torch.zeros(2, dtype=torch.bfloat16)}))
    with pytest.raises(CodebookInvalid):
        load_codebook(path)


def test_shipped_codebook_loads() -> None:
    book = load_codebook(codebook_path(MINILM, None))
    assert book.header.model.name == MINILM


def test_chosen_file_wins_over_the_shipped_one() -> None:
    assert codebook_path(MINILM, Path("mine")) == Path("mine")


def test_model_without_a_codebook_says_exactly_how_to_fit_one() -> None:
    with pytest.raises(CodebookNotFound) as caught:
        codebook_path(SMOLLM2, None)
    message = caught.value.message
    assert (
        "alknet-firewall calibrate --model HuggingFaceTB/SmolLM2-135M --train train.jsonl "
        "--out codebook.safetensors" in message
    )
    assert "FIREWALL_CODEBOOK=codebook.safetensors" in message
    assert "text, label (0 or 1) and signal" in message
