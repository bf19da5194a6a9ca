"""Scores of one's own traffic, as the workers have published them: what recalibration needs, and no text.

A result holds the score of every signal and the number of tokens. A policy in shadow mode blocks nothing while they
gather; a file of them is what ``watch --results --json`` prints or what ``bulk`` writes.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.signal import Severity, SignalScore
from worker.codebook.format import Codebook
from worker.errors import InvalidField
from worker.fitting.dataset import data_files, json_objects

MOST = 50_000
"""Texts kept, chosen by hash: at the 0.01 % budget five of them lie beyond the threshold."""


@dataclass(frozen=True)
class ScoredTexts:
    """Texts that were screened.

    Attributes:
        names: One a text, the same for copies of it; ``recalibrate.halves`` splits by them.
        scores: float32 ``(n_texts, n_signals)``.
        tokens: int32 ``(n_texts,)``.
        left_out: Rows that are not among them: errors, repeated results, another codebook's, what is over ``MOST``.
    """

    names: list[str]
    scores: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int32]
    left_out: int


class _Result(BaseModel):
    """What is used of a result."""

    model_config = ConfigDict(extra="ignore")

    status: Literal["screened", "error"]
    result_id: str | None = None
    codebook: str | None = None
    severity: Severity | None = None
    signals: list[SignalScore] = Field(default_factory=list)
    tokens: Annotated[int, Field(ge=1)] | None = None


_Text = tuple[str, list[float], int]
"""Name, scores, tokens."""


class _Reader:
    """Reads the results of one codebook, and counts what else there was."""

    def __init__(self, codebook: Codebook):
        self._codebook = codebook
        self._seen: set[str] = set()
        self._others: Counter[str] = Counter()
        self._texts = self._flagged = 0
        self.rows = 0

    def read(self, paths: Sequence[Path]) -> Iterator[_Text]:
        for path in data_files(paths):
            for number, raw in json_objects(path):
                self.rows += 1
                try:
                    result = _Result.model_validate(raw.get("data", raw))
                    if self._counts(result):
                        yield self._text(result)
                except (ValidationError, LookupError):
                    raise InvalidField(
                        f"{path.name}, line {number}: no result of a worker. Give what `watch --results --json` prints "
                        "or `bulk` writes"
                    ) from None

    def check(self) -> None:
        if not self._texts:
            told = ", ".join(f"{name} ({count})" for name, count in self._others.most_common(5)) or "none"
            raise InvalidField(
                f"no result is of the codebook {self._codebook.fingerprint}; there are results of {told}. Give the "
                "codebook that the workers used with --codebook",
                field="codebook",
            )
        if 2 * self._flagged > self._texts:
            raise InvalidField(
                f"{self._flagged} of {self._texts} results have a severity: attacks, or alarms only. All results of "
                "benign traffic are needed",
                field="severity",
            )

    def _counts(self, result: _Result) -> bool:
        if result.status == "error" or (result.result_id and result.result_id in self._seen):
            return False
        if result.codebook != self._codebook.fingerprint:
            self._others[str(result.codebook)] += 1
            return False
        if result.result_id:
            self._seen.add(result.result_id)
        return True

    def _text(self, result: _Result) -> _Text:
        by_signal = {score.signal: score.score for score in result.signals}
        scores = [by_signal[signal] for signal in self._codebook.header.signals]
        if result.tokens is None:
            raise LookupError("tokens")
        self._texts += 1
        self._flagged += result.severity is not None
        # Copies of a text score alike up to the last digits, which depend on what else was in the batch.
        rounded = ",".join(f"{score:.2f}" for score in scores)
        return hashlib.sha256(f"{rounded} {result.tokens}".encode()).hexdigest(), scores, result.tokens


def read_results(paths: Sequence[Path], codebook: Codebook) -> ScoredTexts:
    """Read the results of a codebook.

    Args:
        paths: ``.jsonl`` or ``.jsonl.gz``: result events, or records of a bulk run; a directory stands for its files.
        codebook: Whose results count; scores of other probes mean something else.

    Raises:
        InvalidField: A line is no result, none is the codebook's, or most would be flagged.
    """
    reader = _Reader(codebook)
    kept = heapq.nsmallest(MOST, reader.read(paths))
    reader.check()
    return ScoredTexts(
        names=[name for name, _, _ in kept],
        scores=np.array([scores for _, scores, _ in kept], dtype=np.float32),
        tokens=np.array([tokens for _, _, tokens in kept], dtype=np.int32),
        left_out=reader.rows - len(kept),
    )
