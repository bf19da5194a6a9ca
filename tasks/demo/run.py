"""Enqueue the demo's inputs, collect what comes out, and judge whether it is sane."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from redis import Redis

from schemas.event import AlarmEvent, ResultEvent
from schemas.names import EVENT_FIELD, STREAM_ALARMS, STREAM_RESULTS
from schemas.result import ItemResult
from tasks.demo.inputs import DemoItem
from tasks.submit import new_job, send_job

TIMEOUT_S = 120.0
QUIET_S = 0.5
"""How long to listen on after the last expected result, to catch one that was published twice."""
MIN_DETECTED = 0.75
MAX_FALSE_ALARMS = 1


@dataclass
class DemoOutcome:
    """What came out.

    Attributes:
        results: By item id, every result seen for it; exactly one each is right.
        alarms: Item ids of the alarms seen.
        latencies_s: Enqueue to result seen, by item id, in seconds.
        first_alarm_s: From the first enqueue to the first alarm seen.
        elapsed_s: From the first enqueue to the last result.
        engine: The engine's counters.
    """

    results: dict[str, list[ItemResult]] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    latencies_s: dict[str, float] = field(default_factory=dict)
    first_alarm_s: float | None = None
    elapsed_s: float = 0.0
    engine: dict[str, Any] = field(default_factory=dict)


def run_demo(app: Celery, redis: "Redis", items: tuple[DemoItem, ...], advance: Callable[[int], None]) -> DemoOutcome:
    """Enqueue one job per item, and the bad ones together with good neighbours, and wait for all results."""
    outcome = DemoOutcome()
    last_id: dict[Any, Any] = {stream: _last_id(redis, stream) for stream in (STREAM_RESULTS, STREAM_ALARMS)}
    start = time.monotonic()
    sent: dict[str, float] = {}
    jobs: set[str] = set()
    for job in _jobs(items):
        jobs.add(job["job_id"])
        sent.update({item["id"]: time.monotonic() for item in job["items"]})
        send_job(app, job)
    quiet_since: float | None = None
    while time.monotonic() - start < TIMEOUT_S:
        fresh: Any = redis.xread(last_id, block=100)  # [[stream, [(id, fields), …]], …] under RESP2
        for stream, entries in fresh:
            for entry_id, fields in entries:
                last_id[stream] = entry_id
                _record(outcome, stream, fields[EVENT_FIELD], jobs, sent, start, advance)
        if len(outcome.results) == len(items):
            quiet_since = quiet_since or time.monotonic()
            if time.monotonic() - quiet_since > QUIET_S:
                break
    replies = app.control.broadcast("engine_stats", reply=True, timeout=2, limit=1) or []
    outcome.engine = next(iter(replies[0].values())) if replies else {}
    return outcome


def faults(items: tuple[DemoItem, ...], outcome: DemoOutcome) -> list[str]:
    """Return what is not as it must be; empty if the demo succeeded."""
    found = []
    for item in items:
        count = len(outcome.results.get(item.id, []))
        if count != 1:
            found.append(f"{item.id}: {count} results instead of one")
    got = {item_id: results[0] for item_id, results in outcome.results.items()}
    for item in items:
        result = got.get(item.id)
        if result is None or item.expected in ("clean", "flagged"):
            continue
        code = result.error.code if result.error else result.verdict
        if code != item.expected:
            found.append(f"{item.id}: {code} instead of the error {item.expected}")
    flagged = {item_id for item_id, result in got.items() if result.verdict == "flagged"}
    if sorted(flagged) != sorted(outcome.alarms):
        found.append(f"alarms {sorted(outcome.alarms)} do not match the flagged items {sorted(flagged)}")
    attacks = {item.id for item in items if item.expected == "flagged"}
    clean = {item.id for item in items if item.expected == "clean"}
    if len(flagged & attacks) < MIN_DETECTED * len(attacks):
        found.append(f"only {len(flagged & attacks)} of {len(attacks)} attacks flagged")
    if len(flagged & clean) > MAX_FALSE_ALARMS:
        found.append(f"{len(flagged & clean)} harmless texts flagged: {', '.join(sorted(flagged & clean))}")
    return found


def _jobs(items: tuple[DemoItem, ...]) -> list[dict[str, Any]]:
    screenable = [item for item in items if item.expected in ("clean", "flagged")]
    bad = [item for item in items if item.expected not in ("clean", "flagged")]
    # The bad items share a job with two good ones, which must not suffer.
    neighbours, alone = screenable[:2], screenable[2:]
    jobs = [new_job([item.as_item()], source=item.source) for item in alone]
    return [*jobs, new_job([item.as_item() for item in (*neighbours, *bad)])]


def _last_id(redis: "Redis", stream: str) -> str:
    newest: Any = redis.xrevrange(stream, count=1)
    return str(newest[0][0]) if newest else "0"


def _record(
    outcome: DemoOutcome,
    stream: str,
    event: str,
    jobs: set[str],
    sent: dict[str, float],
    start: float,
    advance: Callable[[int], None],
) -> None:
    now = time.monotonic()
    if stream == STREAM_ALARMS:
        alarm = AlarmEvent.model_validate_json(event).data
        if alarm.job_id in jobs:
            outcome.alarms.append(alarm.item_id)
            outcome.first_alarm_s = outcome.first_alarm_s or now - start
        return
    result = ResultEvent.model_validate_json(event).data
    if result.job_id not in jobs:
        return
    item_id = result.item_id or f"#{result.item_index}"
    outcome.results.setdefault(item_id, []).append(result)
    outcome.latencies_s.setdefault(item_id, now - sent.get(item_id, start))
    outcome.elapsed_s = now - start
    advance(1)
