"""Deliveries as Prometheus metrics, read from Redis when they are asked for: the same from every process."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from redis import Redis

from worker.topic.connection import redis_errors_explained
from worker.webhooks.endpoints import DISABLED, ENDPOINTS
from worker.webhooks.schedule import PREFIX

BUCKETS_MS = (50, 250, 1000, 5000, 20_000)
"""Upper bounds of the latency histogram, counted by deliver.lua."""


@dataclass(frozen=True)
class EndpointFigures:
    """Where an endpoint's deliveries stand.

    Attributes:
        id: The endpoint.
        counters: What deliver.lua counted: ``attempts``, ``delivered``, ``dead``, ``failures`` in a row, ….
        waiting: Messages and ungrouped alarms that are not delivered yet.
        dead: Messages in the dead-letter list.
        oldest_due_s: Seconds since the oldest one that is due could have been sent; 0 if none is due.
        held_s: Seconds for which nothing is sent: slowed down, or the circuit breaker is open.
        disabled: Reason, or None.
    """

    id: str
    counters: dict[str, str]
    waiting: int
    dead: int
    oldest_due_s: float
    held_s: float
    disabled: str | None

    def count(self, name: str) -> int:
        """Return a counter."""
        return int(self.counters.get(name, 0))


def figures(redis: "Redis") -> list[EndpointFigures]:
    """Return the figures of all endpoints, by id."""
    with redis_errors_explained(redis):
        seconds, micros = redis.time()
        now_ms = seconds * 1000 + micros // 1000
        disabled: dict[str, str] = redis.hgetall(DISABLED)  # type: ignore[assignment]
        return [_of(redis, name, now_ms, disabled.get(name)) for name in sorted(map(str, redis.hkeys(ENDPOINTS)))]


def _of(redis: "Redis", name: str, now_ms: int, disabled: str | None) -> EndpointFigures:
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.hgetall(f"{PREFIX}state:{name}")
        for waiting in ("due", "leases", "digest", "dead"):
            pipeline.zcard(f"{PREFIX}{waiting}:{name}")
        pipeline.zrange(f"{PREFIX}due:{name}", 0, 0, withscores=True)
        state, due, leased, gathered, dead, first = pipeline.execute()
    return EndpointFigures(
        id=name,
        counters=state,
        waiting=due + leased + gathered,
        dead=dead,
        oldest_due_s=max(0.0, (now_ms - first[0][1]) / 1000) if first else 0.0,
        held_s=max(0.0, (float(state.get("hold", 0)) - now_ms) / 1000),
        disabled=disabled,
    )


class WebhookCollector:
    """Yields the metrics; one sample an endpoint."""

    def __init__(self, redis: "Redis"):
        self._redis = redis

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering asks Redis nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of all endpoints."""
        found = figures(self._redis)
        for name, counter, text in (
            ("attempts", "attempts", "Requests sent."),
            ("delivered", "delivered", "Messages delivered."),
            ("dead_lettered", "dead", "Messages given up."),
        ):
            counted = CounterMetricFamily(f"firewall_webhook_{name}", text, labels=["endpoint"])
            for one in found:
                counted.add_metric([one.id], one.count(counter))
            yield counted
        for name, value, text in (
            ("waiting", lambda one: one.waiting, "Messages and ungrouped alarms not delivered yet."),
            ("dead_letters", lambda one: one.dead, "Messages in the dead-letter list."),
            ("oldest_due_seconds", lambda one: one.oldest_due_s, "Age of the oldest delivery that is due."),
            ("held_seconds", lambda one: one.held_s, "Time left for which nothing is sent."),
            ("disabled", lambda one: one.disabled is not None, "1 if the endpoint is disabled."),
        ):
            gauge = GaugeMetricFamily(f"firewall_webhook_{name}", text, labels=["endpoint"])
            for one in found:
                gauge.add_metric([one.id], float(value(one)))
            yield gauge
        yield _latency(found)


def _latency(found: list[EndpointFigures]) -> Metric:
    latency = HistogramMetricFamily("firewall_webhook_seconds", "Duration of requests.", labels=["endpoint"])
    for one in found:
        buckets = [(str(bound / 1000), float(one.count(f"le_{bound}"))) for bound in BUCKETS_MS]
        whole = ("+Inf", float(one.count("attempts")))
        latency.add_metric([one.id], [*buckets, whole], sum_value=one.count("took_ms") / 1000)
    return latency
