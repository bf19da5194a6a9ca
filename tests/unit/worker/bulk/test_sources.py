"""Rows come out of every format as they went in, and a broken row is one broken row."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.bulk import readers
from worker.bulk.rows import Columns, Row
from worker.bulk.sources import find_inputs, read_inputs
from worker.errors import UnreadableInput


def rows_of(*paths: Path | str, columns: Columns | None = None, chosen: str | None = None) -> list[Row]:
    return list(read_inputs(find_inputs([str(path) for path in paths], chosen), columns or Columns()))


def shape(rows: list[Row]) -> list[tuple[int, str, Any, str | None]]:
    return [(row.number, row.id, row.text, row.fault.code if row.fault else None) for row in rows]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"id": "a", "text": "one"}\n\n"two"\n{"id": 7, "text": 3}\n{"x": 1}\n[1]\nnope\n'
        b'{"text": "\xff"}\n'
        b'{"text": "last, no newline"}'
    )
    assert shape(rows_of(path)) == [
        (1, "a", "one", None),
        (3, f"{path}:3", "two", None),
        (4, "7", 3, None),
        (5, f"{path}:5", None, "invalid_field"),
        (6, f"{path}:6", None, "invalid_field"),
        (7, f"{path}:7", None, "invalid_field"),
        (8, f"{path}:8", None, "invalid_unicode"),
        (9, f"{path}:9", "last, no newline", None),
    ]


def test_a_line_beyond_all_bounds_is_one_faulty_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_LINE_BYTES", 32)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "' + 100 * "x" + '"}\n{"text": "next"}\n', encoding="utf-8")
    assert [(row.number, row.fault.code if row.fault else row.text) for row in rows_of(path)] == [
        (1, "text_too_long"),
        (2, "next"),
    ]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    content = "".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(5000)).encode()
    if suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    else:
        import pyarrow

        with path.open("wb") as raw, pyarrow.CompressedOutputStream(raw, "zstd") as stream:
            stream.write(content)
    rows = rows_of(path)
    assert [row.text for row in rows] == [f"row {n}" for n in range(5000)]
    assert rows[-1].position == path.stat().st_size


def test_a_damaged_archive_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "x"}\n' * 9000)[:-20])
    with pytest.raises(UnreadableInput, match="to its end"):
        rows_of(path)


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffid,text,more\na,"one, with\na break",x\n,two\nc,th\x00ree,x,y,z\n'.encode() + b"d,\xff,x\n")
    rows = rows_of(path, columns=Columns(whole=True))
    assert shape(rows) == [
        (1, "a", "one, with\na break", None),
        (2, f"{path}:2", "two", None),
        (3, "c", "th\x00ree", None),
        (4, "d", "\udcff", None),
    ]
    assert rows[0].original == {"id": "a", "text": "one, with\na break", "more": "x"}


def test_csv_without_the_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,body\n1,x\n", encoding="utf-8")
    with pytest.raises(UnreadableInput, match="--text"):
        rows_of(path)
    assert [row.text for row in rows_of(path, columns=Columns(text="body"))] == ["x"]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet as parquet

    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"row {n}" for n in range(600)] + [None], "n": list(range(601))})
    parquet.write_table(table, path)
    rows = rows_of(path)
    assert [row.text for row in rows] == [*(f"row {n}" for n in range(600)), None]
    assert rows[5].original is None
    assert rows_of(path, columns=Columns(whole=True))[5].original == {"text": "row 5", "n": 5}
    with pytest.raises(UnreadableInput, match="--text"):
        rows_of(path, columns=Columns(text="body"))
    path.write_bytes(b"PAR1 is not enough")
    with pytest.raises(UnreadableInput, match="Parquet"):
        rows_of(path)


def test_a_folder_in_order_of_name_without_what_is_hidden_or_unknown(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("b/two.md", "a.txt", ".git/x.txt", "c.exe"):
        (tmp_path / name).write_text(f"text of {name}\n", encoding="utf-8")
    rows = rows_of(tmp_path)
    assert [(row.id, row.text) for row in rows] == [
        (str(tmp_path / "a.txt"), "text of a.txt\n"),
        (str(tmp_path / "b/two.md"), "text of b/two.md\n"),
    ]


def test_a_text_file_that_is_too_long_or_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ä" * 1_100_000, encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    # The cut-off text is still longer than any item: the worker's own rule refuses it.
    assert [(row.fault.code if row.fault else len(row.text) > 262_144) for row in rows_of(tmp_path)] == [
        True,
        "invalid_unicode",
    ]


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.log"
    path.write_text("one\r\n\ntwo\n", encoding="utf-8")
    assert [row.text for row in rows_of(path, chosen="lines")] == ["one", "two"]
    with pytest.raises(UnreadableInput, match="--format"):
        rows_of(path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "piped"}\n')))
    [row] = rows_of("-")
    assert (row.text, row.id) == ("piped", "stdin:1")
    with pytest.raises(UnreadableInput, match="once only"):
        find_inputs(["-", "-"])


@pytest.mark.parametrize("missing", ["no/such.jsonl", "empty"])
def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableInput):
        find_inputs([missing])
