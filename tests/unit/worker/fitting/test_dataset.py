"""Reading labelled rows: mistakes are told with file and line."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from worker.errors import InvalidField
from worker.fitting.dataset import LabelledText, file_sha256, held_out, read_rows

MARKER = "Zebrafink"
GOOD = {"text": "hello", "label": 0, "signal": "benign"}


def write(path: Path, *lines: Any) -> Path:
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding="utf-8"
    )
    return path


def test_row_with_everything(tmp_path: Path) -> None:
    raw = {"id": "r1", "text": "t", "label": 1, "signal": "jailbreak", "source": "own", "language": "de", "extra": 1}
    assert read_rows([write(tmp_path / "a.jsonl", raw)]) == [LabelledText("r1", "t", 1, "jailbreak", "own", "de")]


def test_row_with_a_text_only(tmp_path: Path) -> None:
    assert read_rows([write(tmp_path / "a.jsonl", {"text": "t"})]) == [LabelledText("1", "t", None, None, "", "")]


def test_gzipped_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode() + b"\n"))
    assert [row.text for row in read_rows([path])] == ["hello"]


def test_files_are_read_in_order_and_blank_lines_skipped(tmp_path: Path) -> None:
    one = write(tmp_path / "1.jsonl", {"text": "a"}, "", {"text": "b"})
    two = write(tmp_path / "2.jsonl", {"text": "c"})
    assert [(row.text, row.id) for row in read_rows([two, one])] == [("c", "1"), ("a", "1"), ("b", "3")]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f'{{"text": "{MARKER}"', id="broken JSON"),
        pytest.param(f'"{MARKER}"', id="not an object"),
        pytest.param("null", id="null"),
        pytest.param({"txet": MARKER}, id="no text"),
        pytest.param({"text": 3}, id="text is a number"),
        pytest.param({"text": MARKER, "label": 2}, id="label 2"),
        pytest.param({"text": MARKER, "label": "attack"}, id="label is a word"),
        pytest.param({"text": MARKER, "label": []}, id="label is a list"),
        pytest.param({"text": MARKER, "signal": "telepathy"}, id="unknown signal"),
        pytest.param({"text": f"{MARKER} \ud83d"}, id="lone surrogate"),
    ],
)
def test_bad_line_is_told_with_file_and_number_and_no_text(tmp_path: Path, line: Any) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD, "", line, GOOD)
    with pytest.raises(InvalidField, match=r"rows\.jsonl, line 3") as caught:
        read_rows([path])
    assert MARKER not in str(caught.value)


def test_file_that_is_not_utf8_is_our_own_error(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"text": "\xe4"}\n')
    with pytest.raises(InvalidField, match=r"latin\.jsonl"):
        read_rows([path])


def test_broken_gzip_is_our_own_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode() * 100)[:-12])
    with pytest.raises(InvalidField, match=r"rows\.jsonl\.gz"):
        read_rows([path])


def test_label_true_is_not_a_label(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="line 1"):
        read_rows([write(tmp_path / "a.jsonl", {"text": "t", "label": True})])


@pytest.mark.parametrize(
    ("licence", "kept"),
    [
        ("mit", True),
        ("apache-2.0", True),
        ("cc-by-4.0", True),
        ("odc-by", True),
        ("cc-by-nc-4.0", False),
        ("CC-BY-NC-SA-4.0", False),
        ("Non-commercial research only", False),
        ("noncommercial", False),
        ("CC BY NC 4.0", False),
        ("none stated", False),
    ],
)
def test_commercial_filter(tmp_path: Path, licence: str, kept: bool) -> None:
    path = write(tmp_path / "a.jsonl", {**GOOD, "license": licence})
    assert len(read_rows([path], commercial_only=True)) == kept
    assert len(read_rows([path])) == 1


@pytest.mark.parametrize("licence", [{}, {"license": ""}, {"license": None}])
def test_commercial_filter_leaves_out_rows_that_state_no_licence(tmp_path: Path, licence: dict[str, Any]) -> None:
    path = write(tmp_path / "a.jsonl", {**GOOD, **licence})
    assert read_rows([path], commercial_only=True) == []


def test_hash_is_of_the_uncompressed_content(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", GOOD, {"text": "zweite Zeile ü"})
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=5))
    assert file_sha256(plain) == file_sha256(packed) == hashlib.sha256(plain.read_bytes()).hexdigest()


def numbered(count: int) -> list[LabelledText]:
    return [LabelledText(str(n), "t", 0, "benign", "own") for n in range(count)]


def test_held_out_rows_are_the_same_for_ever() -> None:
    assert [n for n, row in enumerate(numbered(20)) if held_out(row, 0.25, "calibration")] == [3, 6, 15]


def test_held_out_share_is_about_right() -> None:
    share = sum(held_out(row, 0.25, "calibration") for row in numbered(4000)) / 4000
    assert 0.22 < share < 0.28


def test_salts_are_independent() -> None:
    both = sum(held_out(row, 0.5, "a") and held_out(row, 0.5, "b") for row in numbered(4000)) / 4000
    assert 0.22 < both < 0.28


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (1.0, True)])
def test_nothing_and_everything_can_be_held_out(share: float, expected: bool) -> None:
    assert {held_out(row, share, "s") for row in numbered(200)} == {expected}


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({"label": 0}, "text"),
        ({"text": None}, "text"),
        ({"text": "\ud83d"}, "text"),
        ({"text": "t", "label": 2}, "label"),
        ({"text": "t", "label": True}, "label"),
        ({"text": "t", "signal": "telepathy"}, "signal"),
    ],
)
def test_error_names_file_line_and_field(tmp_path: Path, line: dict[str, Any], field: str) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD, line)
    with pytest.raises(InvalidField, match=rf"rows\.jsonl, line 2: {field} ") as caught:
        read_rows([path])
    assert caught.value.field == field


def test_a_directory_stands_for_its_files_in_order(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", {"text": "second"})
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "third"}\n'))
    write(tmp_path / "a.jsonl", {"text": "first"})
    (tmp_path / "README.md").write_text("no rows")
    assert [row.text for row in read_rows([tmp_path])] == ["first", "second", "third"]
