"""A Redis server with an append-only file that can be killed, frozen, filled up and made read-only."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from worker.topic.server import free_port, redis_server_binary


class Broker:
    """The server; its data survive its process."""

    def __init__(self, directory: Path, binary: Path | None = None) -> None:
        self._directory = directory
        self._binary = binary or redis_server_binary()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.admin = Redis(port=self.port, socket_timeout=5, protocol=2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def version(self) -> str:
        """Of the server that runs."""
        return f"Redis {self.admin.info('server')['redis_version']}"

    def start(self) -> None:
        options = ("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", "", "--bind", "127.0.0.1")
        self._process = subprocess.Popen(
            [str(self._binary), "--port", str(self.port), "--dir", str(self._directory), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(RedisError):
                self.admin.ping()
                return
            time.sleep(0.02)
        raise AssertionError("redis-server does not come up")

    def end(self, signum: int) -> None:
        assert self._process is not None
        self._process.send_signal(signum)
        self._process.wait(30)

    def restart(self, *, away_s: float = 0.0) -> None:
        """Stop it in good order and start it again."""
        self.end(signal.SIGTERM)
        time.sleep(away_s)
        self.start()

    def crash(self, *, away_s: float = 0.0) -> None:
        """Kill it and start it again from its append-only file."""
        self.end(signal.SIGKILL)
        time.sleep(away_s)
        self.start()

    def freeze(self, seconds: float) -> None:
        """Let it hang with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def fill_up(self, seconds: float) -> None:
        """Let it refuse whatever needs memory."""
        self.admin.config_set("maxmemory", 1)
        time.sleep(seconds)
        self.admin.config_set("maxmemory", 0)

    def demote(self, seconds: float) -> None:
        """Make it a replica of nobody, so that it refuses to write, as after a failover."""
        self.admin.config_set("replica-serve-stale-data", "yes")
        self.admin.replicaof("127.0.0.1", str(free_port()))
        time.sleep(seconds)
        self.admin.replicaof("NO", "ONE")

    def reset_connections(self) -> None:
        self.admin.client_kill_filter(_type="normal", skipme=True)


@contextmanager
def breakable_redis(binary: Path | None = None) -> Iterator[Broker]:
    """Yield a running one; ``binary`` defaults to the first that is installed."""
    with tempfile.TemporaryDirectory(prefix="firewall-chaos-redis-") as directory:
        broker = Broker(Path(directory), binary)
        broker.start()
        try:
            yield broker
        finally:
            broker.admin.close()
            broker.end(signal.SIGKILL)
