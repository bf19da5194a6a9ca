"""Recalibration from published results: the same numbers as from the texts, and nothing that is no result."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas import SIGNALS, Alarm, AlarmEvent, ErrorInfo, ItemResult, ResultEvent, SignalScore
from tests.unit.fakes import make_codebook
from tests.unit.worker.fitting.test_recalibrate import traffic
from worker.codebook.format import Codebook
from worker.errors import InvalidField
from worker.fitting import result_scores
from worker.fitting.recalibrate import check, halves
from worker.fitting.result_scores import read_results

MARKER = "zebrafink"


@pytest.fixture(scope="module")
def book() -> Codebook:
    return replace(make_codebook(), fingerprint="c0de")


def result(number: int, scores: Any, tokens: int, **changes: Any) -> ItemResult:
    fields: dict[str, Any] = {
        "result_id": f"r{number}",
        "job_id": "j",
        "item_id": str(number),
        "item_index": 0,
        "status": "screened",
        "signals": [
            SignalScore(signal=signal, score=float(score), p_value=0.5)
            for signal, score in zip(SIGNALS, scores, strict=True)
        ],
        "tokens": int(tokens),
        "codebook": "c0de",
    }
    return ItemResult(**fields | changes)


def results(count: int, **changes: Any) -> list[ItemResult]:
    return [
        result(n, scores, tokens, **changes) for n, (scores, tokens) in enumerate(zip(*traffic(1, count), strict=True))
    ]


def write(path: Path, rows: list[ItemResult], *, events: bool = True) -> Path:
    lines = [
        ResultEvent(id=row.result_id, data=row).model_dump_json()
        if events
        else json.dumps({"input": "a.csv", "row": 1, "id": "x", **row.model_dump(mode="json", exclude={"job_id"})})
        for row in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("events", [True, False])
def test_scores_and_lengths_come_back_to_the_last_bit(tmp_path: Path, book: Codebook, events: bool) -> None:
    scores, tokens = traffic(1, 300)
    found = read_results([write(tmp_path / "r.jsonl", results(300), events=events)], book)
    order, found_order = np.lexsort(scores.T), np.lexsort(found.scores.T)
    np.testing.assert_array_equal(found.scores[found_order], scores[order])
    np.testing.assert_array_equal(found.tokens[found_order], tokens[order])
    assert (len(set(found.names)), found.left_out) == (300, 0)


def test_the_rate_holds_afterwards(tmp_path: Path, book: Codebook) -> None:
    found = read_results([write(tmp_path / "r.jsonl", results(4000))], book)
    measured = check(book, found.scores, found.tokens, halves(found.names))["false_alarms"]["notice"]
    assert measured["before"]["low"] > 0.2
    assert measured["after"]["low"] <= 0.01 <= measured["after"]["high"]


def test_what_is_no_text_of_the_codebook_is_left_out(tmp_path: Path, book: Codebook) -> None:
    rows = results(10)
    error = ErrorInfo(code="empty_text", message="m", retryable=False)
    odd = [
        rows[0],
        result(20, np.zeros(6), 3, codebook="0ther"),
        ItemResult(result_id="e", job_id="j", item_id="e", item_index=0, status="error", error=error),
    ]
    found = read_results([write(tmp_path / "r.jsonl", [*rows, *odd])], book)
    assert (len(found.names), found.left_out) == (10, 3)


def test_records_without_an_id_are_not_taken_for_repeated(tmp_path: Path, book: Codebook) -> None:
    path = tmp_path / "r.jsonl"
    rows = [json.loads(row.model_dump_json(exclude={"result_id"})) for row in results(5)]
    path.write_text("".join(json.dumps({**row, "result_id": None}) + "\n" for row in rows), encoding="utf-8")
    assert len(read_results([path], book).names) == 5


def test_copies_of_a_text_share_a_name_whatever_their_last_digits(tmp_path: Path, book: Codebook) -> None:
    scores = np.array([0.1234, 1, 2, 3, 4, 5])
    rows = [result(1, scores, 7), result(2, scores + 1e-5, 7), result(3, scores, 8)]
    names = read_results([write(tmp_path / "r.jsonl", rows)], book).names
    assert len(names) == 3
    assert len(set(names)) == 2


def test_of_very_many_a_sample_is_kept_the_same_in_any_order(
    tmp_path: Path, book: Codebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_scores, "MOST", 40)
    rows = results(300)
    one = read_results([write(tmp_path / "a.jsonl", rows)], book)
    two = read_results([write(tmp_path / "b.jsonl", rows[::-1])], book)
    assert (len(one.names), one.left_out) == (40, 260)
    assert one.names == two.names


def test_several_and_packed_files(tmp_path: Path, book: Codebook) -> None:
    rows = results(8)
    write(tmp_path / "a.jsonl", rows[:5])
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(write(tmp_path / "rest", rows[5:]).read_bytes()))
    assert len(read_results([tmp_path], book).names) == 8


def test_results_of_another_codebook_only_are_refused_by_name(tmp_path: Path, book: Codebook) -> None:
    with pytest.raises(InvalidField, match=r"codebook c0de; there are results of 0ther \(5\)"):
        read_results([write(tmp_path / "r.jsonl", results(5, codebook="0ther"))], book)


def test_a_file_of_flagged_texts_only_is_refused(tmp_path: Path, book: Codebook) -> None:
    flagged, clean = results(6, severity="notice"), results(10)[6:]
    with pytest.raises(InvalidField, match="6 of 10 results have a severity"):
        read_results([write(tmp_path / "r.jsonl", [*flagged, *clean])], book)
    assert read_results([write(tmp_path / "s.jsonl", [*flagged[:5], *results(10)[5:]])], book).names


@pytest.mark.parametrize(
    "line",
    [
        f'"{MARKER}"',
        f'{{"text": "{MARKER}"}}',
        f'{{"data": "{MARKER}"}}',
        f'{{"data": {{"status": "screened", "codebook": "c0de", "signals": ["{MARKER}"]}}}}',
        '{"status": "screened", "codebook": "c0de", "tokens": 3, "signals": []}',
        result(9, np.zeros(6), 3).model_copy(update={"tokens": None}).model_dump_json(),
        AlarmEvent(
            id="r",
            data=Alarm(
                alarm_id="r",
                job_id="j",
                item_id=MARKER,
                severity="notice",
                signal="jailbreak",
                p_value=0.001,
                signals=[],
                evidence=[],
                policy="default",
                codebook="c0de",
            ),
        ).model_dump_json(),
    ],
)
def test_a_line_that_is_no_result_is_told_with_its_place_and_no_text(tmp_path: Path, book: Codebook, line: str) -> None:
    path = write(tmp_path / "r.jsonl", results(2))
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(InvalidField, match=r"r\.jsonl, line 3") as caught:
        read_results([path], book)
    assert MARKER not in caught.value.message
