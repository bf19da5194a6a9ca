"""Windows: nothing of a text is lost, whatever its length."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny_models import byte_level_tokenizer, wordpiece_tokenizer
from worker.errors import UnsupportedModel
from worker.model.encoder import WindowBatch
from worker.model.windows import Window, WindowTokenizer

SIZE, OVERLAP = 12, 3
ROOM = SIZE - 2


@pytest.fixture(scope="module")
def cutter(wordpiece_file: Path) -> WindowTokenizer:
    return WindowTokenizer(wordpiece_file, size=SIZE, overlap=OVERLAP)


def cut(cutter: WindowTokenizer, length: int) -> tuple[np.ndarray, list[Window]]:
    ids = np.arange(100, 100 + length, dtype=np.int32)
    return ids, cutter.windows(ids)


def content_of(cutter: WindowTokenizer, window: Window) -> list[int]:
    return window.ids[len(cutter.prefix) : len(cutter.prefix) + window.content].tolist()


def test_no_tokens_make_no_window(cutter: WindowTokenizer) -> None:
    assert cut(cutter, 0)[1] == []


@pytest.mark.parametrize("length", [1, ROOM - 1, ROOM])
def test_short_text_is_one_window(cutter: WindowTokenizer, length: int) -> None:
    ids, windows = cut(cutter, length)
    assert [content_of(cutter, window) for window in windows] == [ids.tolist()]


def test_one_token_more_is_two_full_windows(cutter: WindowTokenizer) -> None:
    ids, windows = cut(cutter, ROOM + 1)
    assert [content_of(cutter, window) for window in windows] == [ids[:ROOM].tolist(), ids[1:].tolist()]


@settings(max_examples=200, deadline=None)
@given(length=st.integers(1, 400), size=st.integers(4, 40), data=st.data())
def test_windows_cover_every_token_in_order(wordpiece_file: Path, length: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 3))
    cutter = WindowTokenizer(wordpiece_file, size=size, overlap=overlap)
    ids, windows = cut(cutter, length)
    joined: list[int] = []
    for window in windows:
        assert window.first <= len(joined)
        joined = joined[: window.first] + content_of(cutter, window)
    assert joined == ids.tolist()


@settings(max_examples=200, deadline=None)
@given(length=st.integers(ROOM + 1, 400))
def test_neighbours_share_at_least_the_overlap(cutter: WindowTokenizer, length: int) -> None:
    _, windows = cut(cutter, length)
    ends = [window.first + window.content for window in windows]
    assert all(end - after.first >= OVERLAP for end, after in zip(ends, windows[1:], strict=False))


@settings(max_examples=200, deadline=None)
@given(length=st.integers(ROOM + 1, 400))
def test_all_windows_of_a_long_text_are_full(cutter: WindowTokenizer, length: int) -> None:
    assert {len(window) for window in cut(cutter, length)[1]} == {SIZE}


@settings(max_examples=200, deadline=None)
@given(length=st.integers(ROOM + 1, 400))
def test_there_are_no_needless_windows(cutter: WindowTokenizer, length: int) -> None:
    _, windows = cut(cutter, length)
    assert (len(windows) - 1) * (ROOM - OVERLAP) < length - OVERLAP


def test_every_window_has_the_special_tokens(cutter: WindowTokenizer) -> None:
    vocab = wordpiece_tokenizer().get_vocab()
    _, windows = cut(cutter, 30)
    assert {int(window.ids[0]) for window in windows} == {vocab["[CLS]"]}
    assert {int(window.ids[-1]) for window in windows} == {vocab["[SEP]"]}


def test_model_without_special_tokens_gets_none(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    byte_level_tokenizer().save(str(path))
    cutter = WindowTokenizer(path, size=8, overlap=2)
    assert (len(cutter.prefix), len(cutter.suffix), cutter.room) == (0, 0, 8)


@pytest.mark.parametrize("overlap", [-1, ROOM, ROOM + 5])
def test_impossible_overlap_is_refused(wordpiece_file: Path, overlap: int) -> None:
    with pytest.raises(UnsupportedModel, match="overlap"):
        WindowTokenizer(wordpiece_file, size=SIZE, overlap=overlap)


def test_truncation_in_the_tokenizer_file_is_switched_off(tmp_path: Path) -> None:
    truncating = wordpiece_tokenizer()
    truncating.enable_truncation(max_length=5)
    truncating.enable_padding(length=5)
    path = tmp_path / "tokenizer.json"
    truncating.save(str(path))
    assert json.loads(path.read_text())["truncation"] is not None
    [text, short] = WindowTokenizer(path, size=8, overlap=2).tokenize(["garden " * 50, "a"])
    assert (len(text.ids), len(short.ids)) == (50, 1)


def test_offsets_count_characters_of_the_text(cutter: WindowTokenizer) -> None:
    text = "Ünïcode 🦊 garden water"
    [tokens] = cutter.tokenize([text])
    found = [text[start:end] for start, end in tokens.offsets]
    assert found[-2:] == ["garden", "water"]
    assert "🦊" in found


def test_text_that_tokenises_to_nothing_has_empty_offsets(cutter: WindowTokenizer) -> None:
    [tokens] = cutter.tokenize(["\u200d\u200d"])
    assert tokens.ids.shape == (0,)
    assert tokens.offsets.shape == (0, 2)


def test_tokenizer_hash_is_the_files_own(cutter: WindowTokenizer, wordpiece_file: Path) -> None:
    import hashlib

    assert cutter.sha256 == hashlib.sha256(wordpiece_file.read_bytes()).hexdigest()


def test_batch_pads_on_the_right() -> None:
    windows = [Window(np.array([5, 6, 7], np.int32), 0, 3), Window(np.array([8], np.int32), 0, 1)]
    batch = WindowBatch.of(windows)
    assert batch.ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]
