"""Serve Prometheus metrics that are read from Redis when they are asked for: the same from every process."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, Metric, start_http_server

from worker.errors import SettingsError


class MetricSource(Protocol):
    """Yields metrics; a collector as prometheus_client knows it."""

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering asks Redis nothing."""
        ...

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        ...


def serve_metrics(port: int, *sources: MetricSource) -> Callable[[], None]:
    """Serve the sources over HTTP on all interfaces; return a function that stops it.

    Raises:
        SettingsError: The port cannot be had.
    """
    registry = CollectorRegistry()
    for source in sources:
        registry.register(source)
    try:
        server, thread = start_http_server(port, registry=registry)
    except OSError as error:
        raise SettingsError(
            f"FIREWALL_METRICS_PORT: port {port} cannot be served ({error.strerror}); give each worker of a machine "
            "its own, or only one of them: they all tell the same"
        ) from None

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
