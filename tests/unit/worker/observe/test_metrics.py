"""Metrics over HTTP."""

import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from worker.errors import SettingsError
from worker.observe.metrics import serve_metrics
from worker.topic.server import free_port


class Source:
    """One gauge."""

    def __init__(self, name: str) -> None:
        self._name = name

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self._name, "-", value=7)


def test_all_sources_are_served_until_it_is_stopped() -> None:
    port = free_port()
    stop = serve_metrics(port, Source("one"), Source("two"))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        told = response.read().decode()
    assert "one 7.0" in told
    assert "two 7.0" in told
    stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken, pytest.raises(SettingsError, match="FIREWALL_METRICS_PORT"):
        serve_metrics(taken.getsockname()[1], Source("one"))
