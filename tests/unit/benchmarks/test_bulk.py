"""What ``python -m benchmarks.bulk`` concludes from what it sees."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bulk import __main__ as command
from benchmarks.bulk.corpus import Comparison, compare, id_of, is_empty, records_in, write_corpus
from benchmarks.bulk.files import Answering, through
from benchmarks.bulk.killed import WINDOWS, moments
from benchmarks.bulk.table import table
from benchmarks.bulk.trace import Sample, growth, summary
from benchmarks.bulk.traffic import holds, traffic

ROWS = 1200
RESULT = {"status": "screened", "verdict": "clean", "severity": None, "score": 0.0, "p_value": 0.5, "signals": []}
RESULT |= {"evidence": [], "tokens": 12, "windows": 1, "characters": 50}


def records(rows: int = ROWS) -> list[dict[str, Any]]:
    return [{"row": n, "id": id_of(n), "status": "error" if is_empty(n) else "screened"} for n in range(1, rows + 1)]


def test_the_corpus_is_the_same_whenever_and_some_rows_are_empty(tmp_path: Path) -> None:
    admitted = write_corpus(tmp_path / "a", ROWS)
    write_corpus(tmp_path / "b", ROWS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()]
    assert [row["id"] for row in rows] == [id_of(n) for n in range(1, ROWS + 1)]
    assert sum(bool(row["text"]) for row in rows) == admitted == ROWS - 2
    assert sum(row["text"].startswith("Ignore all") for row in rows) == 6


def test_an_output_with_every_row_once_is_whole() -> None:
    found = compare(ROWS, records())
    assert found == Comparison(ROWS, ROWS, lost=0, doubled=0, strange=0, disordered=0)
    assert found.is_whole


def spoilt() -> Iterator[tuple[str, list[dict[str, Any]], dict[str, int]]]:
    yield "lost", records()[:-3], {"lost": 3}
    yield "doubled", [*records(), *records()[-2:]], {"doubled": 2, "disordered": 1}
    yield (
        "another's id",
        [*records()[:-1], {"row": ROWS, "id": "row-1", "status": "screened"}],
        {
            "lost": 1,
            "strange": 1,
        },
    )
    yield "no row of the corpus", [*records(), {"row": ROWS + 1, "id": id_of(ROWS + 1)}], {"strange": 1}
    yield "not a record", [*records(), {}], {"strange": 1}
    yield "an empty text screened", [{**r, "status": "screened"} for r in records()], {"strange": 2}
    yield "disordered", [*records()[1:], records()[0]], {"disordered": 1}


@pytest.mark.parametrize(("rows", "counts"), [case[1:] for case in spoilt()], ids=[case[0] for case in spoilt()])
def test_what_is_wrong_with_an_output_is_counted(rows: list[dict[str, Any]], counts: dict[str, int]) -> None:
    found = compare(ROWS, rows)
    assert not found.is_whole
    wrong = {name: count for name, count in found.report().items() if count and not name.startswith("rows_")}
    assert wrong == counts


def test_a_line_cut_off_by_a_kill_is_a_strange_record(tmp_path: Path) -> None:
    (tmp_path / "out").write_text('{"row": 1, "id": "row-1", "status": "screened"}\n{"row": 2, "id"')
    assert compare(2, records_in(tmp_path / "out")).report() | {"rows_in": 0} == {
        "rows_in": 0, "rows_out": 2, "lost": 1, "doubled": 0, "strange": 1, "disordered": 0,
    }  # fmt: skip


def test_a_run_without_screening_writes_every_row(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in.jsonl", ROWS)
    for _ in range(2):  # a second round starts over
        rows, seconds = through(lambda _: Answering(RESULT), tmp_path / "in.jsonl", tmp_path / "out.jsonl")
        assert (rows, seconds > 0) == (ROWS, True)
        assert compare(ROWS, records_in(tmp_path / "out.jsonl")).is_whole


def test_kills_come_in_order_and_leave_time_between() -> None:
    for seed in range(50):
        first, second = moments(10_000, random.Random(seed))
        assert 1000 <= first <= 3000
        assert 4500 <= second <= 7000
    assert len(WINDOWS) == 2


def trace(count: int, *, rss: float = 0.0, start: float = 0.0) -> list[Sample]:
    """Half a second apart, 100 rows a second; ``rss`` is what memory grows by in a minute."""
    return [Sample(start + n / 2, 50 * n, 40 + rss * n / 120, n / 10, 20.0 + n % 2, n % 7) for n in range(count)]


def test_growth_of_memory() -> None:
    at_s = [n / 4 for n in range(400)]
    assert growth(at_s, [50.0] * 400) == {
        "first_quarter": 50.0, "last_quarter": 50.0, "max": 50.0, "slope_per_minute": 0.0,
    }  # fmt: skip
    found = growth(at_s, [50 + second / 10 for second in at_s])
    assert found["slope_per_minute"] == pytest.approx(6.0)
    assert found["last_quarter"] - found["first_quarter"] == pytest.approx(7.5)


def test_summary_is_of_the_longest_sitting_without_its_start_and_the_report() -> None:
    report = [Sample(100 + n / 2, 10_000, 500.0, 20 + n / 2, 20.0, 0) for n in range(20)]
    longest = [Sample(-1.0, 0, 5.0, 0.0, 20.0, 0), *trace(200, rss=12.0), *report]
    found = summary([trace(40, rss=1000.0), longest, trace(30)])
    assert found["steady_rows_per_s"] == pytest.approx(100.0)
    assert found["process_cores"] == pytest.approx(0.2)
    assert found["rss_mb"]["slope_per_minute"] == pytest.approx(12.0)
    assert found["rss_mb"]["first_quarter"] > 40, "the start is left out"
    assert found["rss_mb_max_of_all_sittings"] == pytest.approx(40 + 1000 * 38 / 120, abs=0.1)
    assert (found["redis_mb"]["max"], found["jobs_waiting_max"]) == (21.0, 6)
    assert summary([trace(3)]) == {}


def test_traffic_is_distinct_and_the_same_whenever() -> None:
    texts = traffic(3000)
    assert len(set(texts)) == 3000
    assert texts == traffic(3000)


@pytest.mark.parametrize(("low", "high", "inside"), [(0.005, 0.02, True), (0.011, 0.02, False), (0.0, 0.009, False)])
def test_a_budget_holds_if_it_lies_within_the_interval(low: float, high: float, inside: bool) -> None:
    assert holds({"rate": (low + high) / 2, "low": low, "high": high}, 0.01) is inside


def killed(**changes: Any) -> dict[str, Any]:
    found = compare(ROWS, records()).report() | {
        "killed_after_rows": [200, 700],
        "published_twice_or_never": 0,
        "ok": True,
        "seconds": 3.0,
        "rows_per_s": 400.0,
        "rows_per_s_without_screening": 9000.0,
        "share_reading_and_writing": 0.05,
    }
    return {**found, **summary([trace(100)]), **changes}


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_the_last_line_is_json_and_the_status_says_whether_a_row_was_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ok: bool, code: int
) -> None:
    monkeypatch.setattr(command, "measure", lambda *_: killed(ok=ok, lost=0 if ok else 4))
    with pytest.raises(SystemExit) as stopped:
        command.main(["--only", "killed", "--rows", str(ROWS)])
    assert int(stopped.value.code or 0) == code
    printed = capsys.readouterr().out.splitlines()
    assert json.loads(printed[-1])["killed"]["ok"] is ok
    assert "| killed after 200 and 700 rows: lost, doubled, strange, out of order | " in "\n".join(printed)


def test_the_table_holds_every_section_that_was_measured() -> None:
    report = {
        "machine": {"cores": 2},
        "latency": {
            "idle": {"p50_ms": 10.0, "p95_ms": 20.0},
            "beside_bulk": {"p50_ms": 200.0, "p95_ms": 400.0},
            "batch_ms": 450.0,
            "allowed_p95_ms": 490.0,
            "bulk_rows_per_s_meanwhile": 60.0,
        },
        "speed": {"bulk_rows_per_s": 57.0, "engine_rows_per_s": 60.0, "bulk_over_engine": 0.95, "target": 0.95},
        "recalibration": {
            "calibrated_on": 2000,
            "measured_on": 2000,
            "budget": 0.01,
            "before": {"rate": 0.08, "low": 0.07, "high": 0.09},
            "after": {"rate": 0.011, "low": 0.007, "high": 0.017},
            "draws": 20,
            "draws_within": 18,
            "mean_of_draws": 0.0098,
        },
    }
    written = table(report)
    for expected in ("400.0 ms", "at most 490.0 ms", "57.0 ÷ 60.0", "8.00% [7.00%, 9.00%]", "18 of 20; 0.98%"):
        assert expected in written
    assert table({**report, "killed": killed()}).count("\n") == written.count("\n") + 8
