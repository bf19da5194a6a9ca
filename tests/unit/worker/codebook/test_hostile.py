"""A codebook from anyone: it scores, or it is refused with our own error, whatever was done to its bytes."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from tests.unit.fakes import make_codebook
from worker.codebook.format import HEADER_KEY, MAX_BYTES, load_codebook, save_codebook
from worker.errors import CodebookError, CodebookInvalid, CodebookNotFound
from worker.screening.policy import Policy
from worker.screening.scoring import Scorer

GARBAGE = st.sampled_from(
    [
        *(None, True, -1, 0, 10**30, -1e308, float("nan"), float("inf"), "", "x" * 5000, "\x1b[2J", "../../etc/passwd"),
        *("__class__", [], {}, [[]], {"": {}}, [1, "2", None], ["jailbreak"] * 3, list(range(1, 3000))),
    ]
)


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("codebook") / "original.safetensors"
    save_codebook(make_codebook(strata=(24,)), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a fuzzer's file lies."""
    return tmp_path_factory.mktemp("hostile") / "codebook.safetensors"


def assert_scores_or_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        loaded = load_codebook(path)
    except CodebookError as error:
        assert len(error.message) < 1000  # noqa: PT017 - either outcome is right
        return
    logits = np.array([[0.0], [50.0], [-50.0]], np.float32).repeat(len(loaded.header.signals), axis=1)
    scores = Scorer(loaded, Policy()).score(logits, np.array([1, 30, 1000], np.int32))
    assert ((scores.p_value >= 0) & (scores.p_value <= 1)).all()
    assert np.isfinite(scores.log_p).all()


def header_of(blob: bytes) -> dict[str, Any]:
    length = int.from_bytes(blob[:8], "little")
    header: dict[str, Any] = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"][HEADER_KEY])
    return header


def with_header(blob: bytes, header: dict[str, Any]) -> bytes:
    return bytes(save(load(blob), metadata={HEADER_KEY: json.dumps(header)}))


def paths_into(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, entry in inner:
        yield from paths_into(entry, (*path, key))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_changed_bytes(blob: bytes, place: Path, data: st.DataObject) -> None:
    """Most changes are made where the lengths, offsets and names are."""
    end_of_header = 8 + int.from_bytes(blob[:8], "little")
    position = st.one_of(st.integers(0, 15), st.integers(0, end_of_header), st.integers(0, len(blob) - 1))
    changed = bytearray(blob)
    for at, byte in data.draw(st.lists(st.tuples(position, st.integers(0, 255)), min_size=1, max_size=8)):
        changed[at] = byte
    cut = data.draw(st.none() | position)
    assert_scores_or_is_refused(place, bytes(changed[:cut]))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_changed_fields_of_the_header(blob: bytes, place: Path, data: st.DataObject) -> None:
    header = header_of(blob)
    for _ in range(data.draw(st.integers(1, 3))):
        *outer, last = data.draw(st.sampled_from(list(paths_into(header))))
        where: Any = header
        for key in outer:
            where = where[key]
        where[last] = copy.deepcopy(data.draw(GARBAGE))
    assert_scores_or_is_refused(place, with_header(blob, header))


@pytest.mark.parametrize(
    "change",
    [
        {"strata": list(range(1, 200_000))},
        {"groups": ["g"] * 200_000},
        {"adapted": ["encoder"] * 200_000},
        {"golden": {"texts": ["x" * 20_000_000], "tolerance": 0.1}},
        {"golden": {"texts": ["x"] * 10_000, "tolerance": 0.1}},
        {"model": {"layers": list(range(1, 200_000))}},
    ],
    ids=["strata", "groups", "adapted", "a golden text", "golden texts", "layers"],
)
def test_a_header_that_asks_for_much_is_refused(blob: bytes, place: Path, change: dict[str, Any]) -> None:
    header = header_of(blob)
    for name, value in change.items():
        header[name] = header[name] | value if isinstance(value, dict) else value
    place.write_bytes(with_header(blob, header))
    with pytest.raises(CodebookInvalid, match=r"at most|less than"):
        load_codebook(place)


def test_a_file_that_never_ends_or_never_begins_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(CodebookNotFound, match="no regular file"):
            load_codebook(tmp_path / name)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(CodebookInvalid, match="no codebook"):
        load_codebook(tmp_path / "sparse")
