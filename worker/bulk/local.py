"""Screen in this very process, with no queue: the engine a worker runs, fed a few jobs at a time."""

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from worker.bulk.backend import Done
from worker.bulk.chunks import Chunk
from worker.errors import FirewallError
from worker.screening.screener import Finding, Screener

JOBS = 8
"""Jobs under way at once: enough to prepare some while the engine is busy with others."""

Results = list[dict[str, Any]]


class LocalBackend:
    """See ``worker.bulk.backend.Backend``.

    Args:
        screener: Loaded; its engine is stopped at the end.
    """

    position = ""

    def __init__(self, screener: Screener):
        self._screener = screener
        self._pool = ThreadPoolExecutor(JOBS, thread_name_prefix="firewall-bulk")
        self._running: dict[Future[Results], tuple[int, float]] = {}

    def submit(self, chunk: Chunk) -> None:
        """See ``Backend.submit``."""
        self._running[self._pool.submit(self._screen, chunk.job or {})] = (chunk.number, time.monotonic())

    def collect(self, wait_s: float) -> list[Done]:
        """See ``Backend.collect``.

        Raises:
            FirewallError: The engine failed as a whole.
        """
        finished, _ = wait(self._running, timeout=wait_s, return_when=FIRST_COMPLETED)
        done = []
        for future in finished:
            number, since = self._running.pop(future)
            done.append(Done(number, future.result(), time.monotonic() - since))
        return done

    def again(self) -> dict[int, int]:
        """See ``Backend.again``; nothing is ever lost on the way."""
        return {}

    def close(self, status: str) -> None:
        """See ``Backend.close``."""
        del status
        self._screener.engine.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _screen(self, job: dict[str, Any]) -> Results:
        texts = [item["text"] for item in job["items"]]
        findings = self._screener.screen(texts, policy=job["policy"], bulk=True)
        return [
            {"item_index": index, **_result(text, found, self._screener.codebook.fingerprint)}
            for index, (text, found) in enumerate(zip(texts, findings, strict=True))
        ]


def _result(text: str, found: Finding | FirewallError, codebook: str) -> dict[str, Any]:
    """Return what a worker would answer, without what only a queue gives meaning to."""
    if isinstance(found, FirewallError):
        return {"status": "error", "error": found.info().model_dump()}
    return {
        "status": "screened",
        "verdict": found.policy.verdict(found.severity),
        "severity": found.severity,
        "shadow": found.policy.shadow,
        "score": found.statistic,
        "p_value": found.p_value,
        "extrapolated": found.extrapolated,
        "signals": [score.model_dump() for score in found.signals],
        "evidence": [span.model_dump() for span in found.evidence],
        "characters": len(text),
        "tokens": found.tokens,
        "windows": found.windows,
        "policy": found.policy.name,
        "codebook": codebook,
    }
