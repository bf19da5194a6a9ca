"""``python -m benchmarks.webhooks``: how fast alarms arrive, how a wave drains past dead and slow endpoints, a kill.

Everything runs on loopback: a Redis, one webhooks worker process, receivers in processes of their own that verify
every request with the specification's library.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from tasks.demo.stack import end
from tests.integration.test_publish_script import flagged
from tests.integration.webhook_support import Receiver, receiving
from worker.observe.health import is_healthy
from worker.topic.publisher import RedisPublisher, TopicLimits
from worker.topic.server import running_redis
from worker.webhooks.endpoints import EndpointStore, endpoint_of

SAMPLES = 300


class Bench:
    """A Redis, its endpoints and receivers."""

    def __init__(self, url: str, directory: Path):
        self.url, self.directory = url, directory
        self.redis: Redis = Redis.from_url(url, decode_responses=True)
        self.publisher = RedisPublisher(self.redis, TopicLimits())
        self.store = EndpointStore(self.redis)

    @contextmanager
    def worker(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run one webhooks worker."""
        health = self.directory / f"health-{time.monotonic_ns()}"
        variables = {
            "FIREWALL_REDIS_URL": self.url,
            "FIREWALL_HEALTH_FILE": str(health),
            "FIREWALL_WEBHOOK_ALLOW": '["127.0.0.1"]',
            "FIREWALL_WEBHOOK_TIMEOUT_S": "5",
        }
        command = [sys.executable, "-m", "tasks", "worker", "--queue", "webhooks"]
        with (self.directory / "worker.log").open("ab") as log:
            process = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)
        try:
            while not is_healthy(health):
                time.sleep(0.05)
            yield process
        finally:
            end(process)

    def publish(self, prefix: str, count: int) -> set[str]:
        """Publish alarms and return their ids."""
        outcomes = [flagged(f"{prefix}{n}") for n in range(count)]
        for start in range(0, count, 100):
            self.publisher.publish(outcomes[start : start + 100])
        return {result.result_id for result, _ in outcomes}

    def add(self, name: str, receiver: Receiver, **fields: Any) -> None:
        """Add an endpoint and tell its receiver the secret."""
        secret = self.store.add(endpoint_of({"id": name, "url": receiver.url, **fields}))
        receiver.secret_file.write_text(secret, encoding="utf-8")

    def waiting(self, name: str) -> int:
        """Return the messages an endpoint has not got."""
        return sum(int(self.redis.zcard(f"firewall:webhooks:{kind}:{name}")) for kind in ("due", "leases"))


def latency(bench: Bench) -> dict[str, Any]:
    """Measure from before an alarm is published to its verification, one alarm at a time."""
    with receiving(bench.directory) as receiver, bench.worker():
        bench.add("one", receiver)
        took = []
        for number in range(SAMPLES + 20):
            begun = time.time()
            bench.publish(f"l{number}-", 1)
            while len(receiver.entries()) <= number:
                time.sleep(0.002)
            took.append(receiver.entries()[number]["at"] - begun)
            time.sleep(0.01)
        verified = all(entry["verified"] for entry in receiver.entries())
    bench.store.remove("one")
    took = sorted(took[20:])
    return {
        "alarms": SAMPLES,
        "all_verified": verified,
        "p50_ms": round(1000 * took[SAMPLES // 2], 1),
        "p99_ms": round(1000 * took[SAMPLES * 99 // 100], 1),
        "max_ms": round(1000 * took[-1], 1),
    }


def outcome(published: set[str], receivers: dict[str, Receiver]) -> dict[str, int]:
    """Count what arrived at receivers that all get everything."""
    lost = repeated = strange = unverified = 0
    for receiver in receivers.values():
        entries = receiver.entries()
        ids = Counter(entry["id"] for entry in entries)
        by_alarm: dict[str, set[str]] = {}
        for entry in entries:
            for alarm in entry["alarms"]:
                by_alarm.setdefault(alarm, set()).add(entry["id"])
        lost += len(published - by_alarm.keys())
        repeated += sum(ids.values()) - len(ids)
        strange += sum(len(found) > 1 for found in by_alarm.values())
        unverified += sum(not entry["verified"] for entry in entries)
    return {"lost": lost, "repeated_same_id": repeated, "repeated_other_id": strange, "unverified": unverified}


def wave(bench: Bench, alarms: int, healthy: int, *, kill: bool) -> dict[str, Any]:
    """Publish many alarms to healthy endpoints, three dead ones and two slow ones; drain, with a kill in between."""
    with ExitStack() as stack:
        served = {f"healthy-{n:02}": stack.enter_context(receiving(bench.directory)) for n in range(healthy)}
        slow = {f"slow-{n}": stack.enter_context(receiving(bench.directory, "slow:0.05")) for n in range(2)}
        dead = {
            "dead-refused": Receiver("http://127.0.0.1:9/", bench.directory / "x", bench.directory / "x"),
            "dead-hanging": stack.enter_context(receiving(bench.directory, "hang")),
            "dead-failing": stack.enter_context(receiving(bench.directory, "status:500")),
        }
        for name, receiver in served.items():
            bench.add(name, receiver)
        for name, receiver in slow.items():
            bench.add(name, receiver, parallel=16)
        for name, receiver in dead.items():
            bench.add(name, receiver)
        begun = time.monotonic()
        published = bench.publish("k" if kill else "w", alarms)
        published_s = time.monotonic() - begun
        if kill:
            with bench.worker() as process:
                while bench.waiting("healthy-00") > alarms // 2:
                    time.sleep(0.05)
                process.send_signal(signal.SIGKILL)
                process.wait()
        begun = time.monotonic()
        took: dict[str, float] = {}
        with bench.worker():
            while len(took) < len(served) + len(slow):
                for name in (*served, *slow):
                    if name not in took and not bench.waiting(name):
                        took[name] = time.monotonic() - begun
                time.sleep(0.2)
            requests_to_dead = {name: bench.redis.hget(f"firewall:webhooks:state:{name}", "attempts") for name in dead}
        report = {
            "alarms": alarms,
            "endpoints": {"healthy": len(served), "slow": len(slow), "dead": len(dead)},
            "killed": kill,
            "publish_s": round(published_s, 1),
            "healthy_done_s": round(max(took[name] for name in served), 1),
            "slow_done_s": round(max(took[name] for name in slow), 1),
            **({} if kill else {"healthy_per_s": round(alarms * len(served) / max(took[name] for name in served))}),
            **outcome(published, served | slow),
            "attempts_at_dead": {name: int(str(found or 0)) for name, found in requests_to_dead.items()},
            "waiting_for_dead": {name: bench.waiting(name) for name in dead},
        }
        for name in (*served, *slow, *dead):
            bench.store.remove(name)
        return report


def digest(bench: Bench, alarms: int) -> dict[str, Any]:
    """Count the requests of an endpoint with a digest in a wave."""
    with receiving(bench.directory) as receiver, bench.worker():
        bench.add("digest", receiver, digest_s=1, digest_max=100)
        published = bench.publish("d", alarms)
        while bench.redis.exists("firewall:webhooks:digest:digest") or bench.waiting("digest"):
            time.sleep(0.1)
        found = outcome(published, {"digest": receiver})
        requests = len(receiver.entries())
    bench.store.remove("digest")
    return {"alarms": alarms, "requests": requests, **found}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print one JSON object a measurement; the exit status is 0 only if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alarms", type=int, default=10_000, help="alarms of the wave; default 10,000")
    parser.add_argument("--healthy", type=int, default=15, help="healthy endpoints; 2 slow and 3 dead are added")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory, running_redis() as url:
        bench = Bench(url, Path(directory))
        found = [latency(bench), digest(bench, min(chosen.alarms, 1000))]
        print(json.dumps({"latency": found[0]}), flush=True)
        print(json.dumps({"digest": found[1]}), flush=True)
        for kill in (False, True):
            found.append(wave(bench, chosen.alarms // (4 if kill else 1), chosen.healthy, kill=kill))
            print(json.dumps({"wave": found[-1]}), flush=True)
    sys.exit(any(one.get("lost") or one.get("repeated_other_id") or one.get("unverified") for one in found))


if __name__ == "__main__":
    main()
