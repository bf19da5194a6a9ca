"""How consumer groups of the result topic keep up, as Prometheus metrics."""

from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from redis import Redis

from worker.settings import Settings
from worker.topic.connection import redis_errors_explained
from worker.topic.lag import group_lags


class TopicCollector:
    """Yields the metrics; one sample a consumer group."""

    def __init__(self, redis: "Redis", settings: Settings):
        self._redis = redis
        self._settings = settings

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering asks Redis nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield lag, pending entries and whether entries were missed."""
        with redis_errors_explained(self._redis):
            lags = group_lags(self._redis, self._settings)
        for name, text in (
            ("lag", "Entries not delivered to any member of the group."),
            ("pending", "Entries delivered and not confirmed."),
            ("missed", "1 if entries are trimmed before the group reads them."),
        ):
            gauge = GaugeMetricFamily(f"firewall_topic_{name}", text, labels=["stream", "group"])
            for one in lags:
                gauge.add_metric([one.stream, one.group], float(getattr(one, name)))
            yield gauge
