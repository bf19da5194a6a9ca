"""Count what was enqueued and what came out."""

import base64
import json
import random
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from celery import Celery
from redis import Redis
from redis.exceptions import RedisError

from schemas.names import STREAM_ALARMS, STREAM_RESULTS
from tests.integration.chaos.engine import ALARMS
from tests.integration.support import QUEUES, TASK, UNACKED

WORDS = ("meeting", "today", "garden", "report", "train", "prompt", "weather")

Key = tuple[str, str]


@dataclass
class Count:
    """The figures of the last line; zero lost and zero duplicated is the promise.

    Attributes:
        enqueued: Items of jobs that Redis took.
        results: Results seen, one for every item.
        lost: Items without a result, and flagged ones without an alarm.
        duplicated: Results and alarms seen more than once.
        dead_lettered: Entries of the dead-letter stream.
        kills: Workers killed, or frozen until they were given up for dead.
        worst_recovery_s: Longest time from the last kill that took a message along to its result, Redis being up.
    """

    enqueued: int = 0
    results: int = 0
    lost: int = 0
    duplicated: int = 0
    dead_lettered: int = 0
    kills: int = 0
    worst_recovery_s: float = 0.0

    def line(self) -> str:
        return json.dumps(asdict(self))

    @property
    def kept(self) -> bool:
        return self.lost == self.duplicated == 0


class Ledger:
    """Sends jobs as a plain Celery producer, reads the result topic, and compares.

    A job is identified by its id: a producer that does not know whether Redis took it sends it again.
    """

    def __init__(self, url: str, *, reader: str | None = None) -> None:
        self.redis = Redis.from_url(reader or url, decode_responses=True, protocol=2, socket_timeout=5)
        self._url = url
        self._app = self._producer()
        self._open: set[Key] = set()
        self._seen: Counter[Key] = Counter()
        self._flagged: set[Key] = set()
        self._alarms: Counter[Key] = Counter()
        self.errors: Counter[str] = Counter()
        self._last: dict[str, str] = {STREAM_RESULTS: "0", STREAM_ALARMS: "0"}
        self._recovering: dict[Key, tuple[float, str]] = {}
        self.outage = threading.Event()
        self.count = Count()
        self.lock = threading.Lock()

    def _producer(self) -> Celery:
        app = Celery("producer", broker=self._url, backend="disabled://", set_as_current=False)
        app.conf.broker_transport_options = {"socket_timeout": 5}
        return app

    def send(self, texts: list[str] | None = None, queue: str | None = None) -> str:
        """Enqueue one job; try again until Redis has it. Return its id."""
        job_id = str(uuid.uuid4())
        texts = texts or [text() for _ in range(random.choice((1, 1, 1, 2, 5)))]
        items = [{"id": str(n), "text": content} for n, content in enumerate(texts)]
        with self.lock:
            self._open.update((job_id, item["id"]) for item in items)
            self.count.enqueued += len(items)
        while True:
            try:
                self._app.send_task(
                    TASK,
                    args=[{"job_id": job_id, "items": items}],
                    queue=queue or random.choice(QUEUES),
                    retry=False,
                )
            except Exception:  # noqa: BLE001 - whatever broke, the producer tries again
                self._app = self._producer()
                time.sleep(0.2)
            else:
                return job_id

    def collect(self, block_ms: int = 100) -> None:
        """Read what has been published since the last call."""
        with suppress(RedisError):
            reply: Any = self.redis.xread(dict(self._last), count=1000, block=block_ms)
            for stream, entries in reply:
                for entry_id, fields in entries:
                    self._last[stream] = entry_id
                    self._record(stream, json.loads(fields["event"])["data"])
        if self.outage.is_set():
            self._recovering.clear()  # how long Redis is away is not the worker's recovery

    def _record(self, stream: str, data: dict[str, Any]) -> None:
        key = data["job_id"], data["item_id"]
        if stream == STREAM_ALARMS:
            self._alarms[key] += 1
            return
        with self.lock:
            self._open.discard(key)
        if key in self._recovering:
            took = time.monotonic() - self._recovering.pop(key)[0]
            self.count.worst_recovery_s = round(max(self.count.worst_recovery_s, took), 2)
        self._seen[key] += 1
        self.count.results += 1
        self.errors[data["error"]["code"] if data["error"] else data["verdict"]] += 1
        if data["verdict"] == "flagged":
            self._flagged.add(key)

    def killed(self) -> None:
        """Note a kill: what is unacknowledged at this moment and has no result has to be recovered.

        A message that was recovered from an earlier kill, and is in hand again, begins anew under its new tag.
        """
        self.count.kills += 1
        if self.outage.is_set():
            return
        try:
            held: Any = self.redis.hgetall(UNACKED)
        except RedisError:
            return
        now = time.monotonic()
        for tag, raw in held.items():
            for key in _keys(raw):
                known = self._recovering.get(key)
                if key not in self._seen and (known is None or known[1] != tag):
                    self._recovering[key] = now, tag

    @property
    def missing(self) -> int:
        """Items that have no result yet."""
        with self.lock:
            return len(self._open)

    def control(self, command: str) -> list[dict[str, Any]]:
        """Ask the workers something over Celery's control channel."""
        replies: list[dict[str, Any]] = self._app.control.broadcast(command, reply=True, timeout=5, limit=1) or []
        return replies

    def idle(self) -> bool:
        """Nothing queued and nothing in anyone's hands."""
        try:
            return not self.redis.hlen(UNACKED) and not any(self.redis.llen(queue) for queue in QUEUES)
        except RedisError:
            return False

    def letters(self) -> list[dict[str, Any]]:
        return [json.loads(fields["event"])["data"] for _, fields in self.redis.xrange("firewall:dead")]

    def settle(self, timeout: float) -> Count:
        """Wait until every job has its result and nothing is in hand any more; return the figures."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self.collect()
            if not self.missing and self.idle():
                break
        self.collect()
        self.count.lost = self.missing + len(self._flagged - self._alarms.keys())
        self.count.duplicated = sum(seen - 1 for seen in (*self._seen.values(), *self._alarms.values()))
        self.count.dead_lettered = int(self.redis.xlen("firewall:dead"))
        return self.count


def text() -> str:
    """A short random text; one in twenty raises an alarm."""
    words = random.choices(WORDS, k=random.randint(3, 40))
    return " ".join([*words, ALARMS] if random.random() < 0.05 else words)


def _keys(raw: str) -> list[Key]:
    body = json.loads(base64.b64decode(json.loads(raw)["body"]))
    job = body[0][0]
    return [(job["job_id"], item["id"]) for item in job["items"]]
