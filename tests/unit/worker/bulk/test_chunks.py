"""Rows are cut the same way every time, nothing is dropped, and what a worker would refuse is not sent."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import Job
from worker.bulk import chunks
from worker.bulk.chunks import Chunk, JobFields, cut
from worker.bulk.records import records_of
from worker.bulk.rows import Row
from worker.errors import InvalidField

FIELDS = JobFields("run", "document", "default", "acme")

texts = st.one_of(st.none(), st.integers(), st.text(max_size=40), st.just("\ud800"), st.just("a\x00b"), st.just(""))
ids = st.one_of(st.text(max_size=6), st.sampled_from(["same", "x" * 300, "new\nline", "\u202e"]))


def chunks_of(rows: list[Row], items: int = 3) -> list[Chunk]:
    return list(cut(rows, FIELDS, items=items))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ids, texts), max_size=20), st.integers(1, 7))
def test_every_row_is_in_a_job_or_refused_and_every_job_is_valid(given_: list[tuple[str, object]], items: int) -> None:
    rows = [Row("in.jsonl", n + 1, name, text) for n, (name, text) in enumerate(given_)]
    made = chunks_of(rows, items)
    assert [row for chunk in made for row in chunk.rows] == rows
    assert [chunk.number for chunk in made] == list(range(len(made)))
    for chunk in made:
        assert sorted([*chunk.places, *chunk.refused]) == list(range(len(chunk.rows)))
        if chunk.job is not None:
            job = Job.model_validate_json(json.dumps(chunk.job))
            assert [item.text for item in job.items] == [chunk.rows[place].text for place in chunk.places]
    assert [(chunk.digest, chunk.job) for chunk in chunks_of(rows, items)] == [(c.digest, c.job) for c in made]


def test_the_digest_tells_inputs_apart() -> None:
    rows = [Row("in", n, str(n), f"text {n}") for n in range(6)]
    changed = [*rows[:1], Row("in", 1, "1", "another"), *rows[2:]]
    assert chunks_of(rows)[0].digest != chunks_of(changed)[0].digest
    assert chunks_of(rows)[1].digest != chunks_of(changed)[1].digest


def test_large_texts_make_small_jobs(monkeypatch: object) -> None:
    half = chunks.CHUNK_BYTES // 2 + 1
    rows = [Row("in", n, str(n), "x" * (half // 3)) for n in range(16)]
    assert [len(chunk.rows) for chunk in chunks_of(rows, 64)] == [5, 5, 5, 1]


def test_records_in_the_order_of_the_rows() -> None:
    rows = [
        Row("in", 1, "a", "first"),
        Row("in", 2, "b", None, fault=InvalidField("the line is not JSON")),
        Row("in", 3, "c", "third"),
        Row("in", 4, "d", "fourth"),
    ]
    [chunk] = chunks_of(rows, 4)
    results = [
        {"item_index": 1, "status": "error", "error": {"code": "no_tokens"}},
        {"item_index": 0, "status": "screened", "verdict": "clean"},
    ]
    records = records_of(chunk, results)
    assert [record["id"] for record in records] == ["a", "b", "c", "d"]
    assert records[0]["verdict"] == "clean"
    assert [record["error"]["code"] for record in records[1:]] == ["invalid_field", "no_tokens", "no_verdict"]
