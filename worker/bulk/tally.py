"""Figures of a run, kept while rows go by: constant memory, and JSON between two sittings."""

import bisect
import heapq
import math
from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.signal import EvidenceSpan
from worker.bulk.chunks import Chunk
from worker.bulk.excerpt import marked_parts
from worker.bulk.output import Record
from worker.bulk.rows import Row

P_BINS = 20
SCORE_STEP = 0.5
SCORE_RANGE = 40.0
"""Scores beyond plus or minus this fall into the outermost bins."""

TAIL = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00001)
"""P-values whose realised share the report compares with the promised one."""

KEPT_ALARMS = 20
KEPT_LONGEST = 8
MAX_INPUTS = 200
MAX_BUCKETS = 120


class Tally(BaseModel):
    """Counts, histograms and the few rows worth showing.

    Attributes:
        rows: Rows written.
        clean, flagged, errors: Of these, by outcome.
        by_severity, by_signal, by_code: Flagged rows by severity and by leading signal, errors by code.
        by_input: Rows and flagged rows by input; the inputs beyond ``MAX_INPUTS`` share one line.
        p_values: Counts of ``P_BINS`` equal bins of [0, 1].
        tail: How many p-values were under each of ``TAIL``.
        scores, flagged_scores: Counts by bin number, ``floor(score / SCORE_STEP)``, of clean and of flagged rows.
        alarms: The rows with the smallest p-values, with their text around the evidence.
        longest: The rows with most tokens.
        slowest: The jobs that took longest, in seconds from sending to the last result.
        bucket_s: Seconds of one bucket of ``throughput``.
        throughput: Rows written in each bucket since the beginning.
        tokens, windows, characters: Sums over screened rows.
    """

    model_config = ConfigDict(extra="forbid")

    rows: int = 0
    clean: int = 0
    flagged: int = 0
    errors: int = 0
    by_severity: Counter[str] = Field(default_factory=Counter)
    by_signal: Counter[str] = Field(default_factory=Counter)
    by_code: Counter[str] = Field(default_factory=Counter)
    by_input: dict[str, tuple[int, int]] = Field(default_factory=dict)
    p_values: list[int] = Field(default_factory=lambda: [0] * P_BINS)
    tail: list[int] = Field(default_factory=lambda: [0] * len(TAIL))
    scores: Counter[int] = Field(default_factory=Counter)
    flagged_scores: Counter[int] = Field(default_factory=Counter)
    alarms: list[dict[str, Any]] = Field(default_factory=list)
    longest: list[dict[str, Any]] = Field(default_factory=list)
    slowest: list[dict[str, Any]] = Field(default_factory=list)
    bucket_s: float = 1.0
    throughput: list[int] = Field(default_factory=list)
    tokens: int = 0
    windows: int = 0
    characters: int = 0

    def add(self, chunk: Chunk, records: list[Record], *, at_s: float, took_s: float) -> None:
        """Count a chunk.

        Args:
            chunk: The chunk.
            records: Of its rows.
            at_s: Seconds since the run began, pauses left out.
            took_s: Seconds from sending to the last result; 0 if nothing was sent.
        """
        for row, record in zip(chunk.rows, records, strict=True):
            self._count(row, record)
        self._bucket(at_s, len(records))
        if chunk.job is not None and took_s > 0:
            entry = {"seconds": took_s, "rows": len(records), "bytes": chunk.size, "first": chunk.rows[0].id}
            self.slowest = heapq.nlargest(KEPT_LONGEST, [*self.slowest, entry], key=lambda found: found["seconds"])

    def _count(self, row: Row, record: Record) -> None:
        self.rows += 1
        name = row.input if row.input in self.by_input or len(self.by_input) < MAX_INPUTS else "(further inputs)"
        rows, flagged = self.by_input.get(name, (0, 0))
        is_flagged = record["status"] == "screened" and record["verdict"] == "flagged"
        self.by_input[name] = (rows + 1, flagged + is_flagged)
        if record["status"] != "screened":
            self.errors += 1
            self.by_code[record["error"]["code"]] += 1
            return
        self._measure(record)
        if is_flagged:
            self.flagged += 1
            self.by_severity[record["severity"]] += 1
            self.by_signal[leading_signal(record)] += 1
            self._keep_alarm(row, record)
        else:
            self.clean += 1

    def _measure(self, record: Record) -> None:
        p_value = record["p_value"]
        self.p_values[min(P_BINS - 1, int(p_value * P_BINS))] += 1
        for place in range(bisect.bisect_left([-bound for bound in TAIL], -p_value)):
            self.tail[place] += 1
        score = max(-SCORE_RANGE, min(SCORE_RANGE, record["score"]))
        counts = self.scores if record["verdict"] == "clean" else self.flagged_scores
        counts[math.floor(score / SCORE_STEP)] += 1
        self.tokens += record["tokens"]
        self.windows += record["windows"]
        self.characters += record["characters"]
        if len(self.longest) < KEPT_LONGEST or record["tokens"] > self.longest[-1]["tokens"]:
            entry = {key: record[key] for key in ("id", "input", "row", "tokens", "windows", "characters")}
            self.longest = heapq.nlargest(KEPT_LONGEST, [*self.longest, entry], key=lambda found: found["tokens"])

    def _keep_alarm(self, row: Row, record: Record) -> None:
        if len(self.alarms) == KEPT_ALARMS and record["p_value"] >= self.alarms[-1]["p_value"]:
            return
        evidence = [EvidenceSpan.model_validate(span) for span in record["evidence"]]
        entry = {key: record[key] for key in ("id", "input", "row", "severity", "p_value", "extrapolated")}
        entry |= {"signal": leading_signal(record), "parts": [list(part) for part in marked_parts(row.text, evidence)]}
        self.alarms = heapq.nsmallest(KEPT_ALARMS, [*self.alarms, entry], key=lambda found: found["p_value"])

    def _bucket(self, at_s: float, rows: int) -> None:
        while at_s >= self.bucket_s * MAX_BUCKETS:
            pairs = [self.throughput[i : i + 2] for i in range(0, len(self.throughput), 2)]
            self.throughput = [sum(pair) for pair in pairs]
            self.bucket_s *= 2
        place = int(at_s / self.bucket_s)
        self.throughput += [0] * (place + 1 - len(self.throughput))
        self.throughput[place] += rows


def leading_signal(record: Record) -> str:
    """Return the signal a flagged record is about: the evidence's, or the one with the smallest p-value."""
    if record["evidence"]:
        return str(record["evidence"][0]["signal"])
    return str(min(record["signals"], key=lambda found: found["p_value"])["signal"])
