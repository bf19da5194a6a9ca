"""Receivers and webhooks workers as processes, and what the receivers got."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import Result
from redis import Redis
from typer.testing import CliRunner

from tasks.cli.main import app
from tests.integration.support import clean_environment, eventually
from worker.webhooks.endpoints import EndpointStore, endpoint_of

LOOPBACK = {"FIREWALL_WEBHOOK_ALLOW": '["127.0.0.1"]'}
NO_TORCH = Path(__file__).parent / "no_torch"
"""Modules named like the heavy libraries that fail when they are imported."""


@dataclass
class Receiver:
    """A receiver process."""

    url: str
    secret_file: Path
    log: Path

    def entries(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        # The last line may be half written.
        whole, _, _ = self.log.read_text(encoding="utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def alarms(self) -> list[str]:
        return [alarm for entry in self.entries() for alarm in entry["alarms"]]


@contextmanager
def receiving(directory: Path, behaviour: str = "ok") -> Iterator[Receiver]:
    """Start a receiver; its secret is what is written to ``secret_file``."""
    name = uuid.uuid4().hex[:8]
    port, log, secret = (directory / f"{kind}-{name}" for kind in ("port", "requests", "secret"))
    command = [sys.executable, "-m", "tests.integration.receiver", str(port), str(log), behaviour, str(secret)]
    with (directory / f"receiver-{name}").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: port.exists() or process.poll() is not None, "the receiver")
        yield Receiver(f"http://127.0.0.1:{port.read_text(encoding='utf-8')}/", secret, log)
    finally:
        process.kill()
        process.wait()


def environment(**variables: str) -> dict[str, str]:
    """What a webhooks worker gets: loopback allowed, and no torch to import."""
    python_path = clean_environment().get("PYTHONPATH", "")
    return {**LOOPBACK, "PYTHONPATH": f"{NO_TORCH}:{python_path}", **variables}


def run(url: str, *arguments: str, **variables: str) -> Result:
    """Run ``alknet-firewall webhooks …`` in this process."""
    given = {"FIREWALL_REDIS_URL": url, "TERM": "dumb", **LOOPBACK, **variables}
    return CliRunner().invoke(app, ["webhooks", *arguments], env=given)


def add(url: str, receiver: Receiver, name: str, **fields: Any) -> str:
    """Add an endpoint and give the receiver its secret; return the endpoint's id."""
    with Redis.from_url(url, decode_responses=True) as redis:
        secret = EndpointStore(redis).add(endpoint_of({"id": name, "url": receiver.url, **fields}))
    receiver.secret_file.write_text(secret, encoding="utf-8")
    return name
