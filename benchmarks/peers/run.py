"""Start the peers, and run rounds of the same documents through them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from redis import Redis

CHUNK_WORDS = 200
"""A chunk of so many common words fits the 256 tokens that the model sees; peers would cut the rest off unread."""

INFINITY_PYTHON = Path(".venv-infinity/bin/python")
BATCHES_PYTHON = Path(".venv-batches/bin/python")
READY_S = 180.0


def chunked(texts: Sequence[str]) -> list[list[str]]:
    """Cut documents into chunks without overlap: the least that reads all of a text."""
    cut = []
    for text in texts:
        words = text.split()
        cut.append([" ".join(words[i : i + CHUNK_WORDS]) for i in range(0, len(words), CHUNK_WORDS)])
    return cut


class Child:
    """A peer that encodes in its own process at every line it is given."""

    def __init__(self, python: Path, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).parent / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"},
        )
        self._answer()

    def seconds(self) -> float:
        """Run one round."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, float] = json.loads(line)
                return answer
        raise RuntimeError(f"{self._process.args} ended with status {self._process.wait()}")


class CeleryPeer:
    """A peer behind Redis; a round is over when it has counted every document."""

    def __init__(self, module: str, url: str, model: Path, *, python: Path, processes: int, threads: int) -> None:
        self._redis = Redis.from_url(url)
        self._app = Celery("peer", broker=url, set_as_current=False)
        variables = {"PEER_BROKER": url, "PEER_MODEL": str(model), "PEER_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        command = ["-A", f"benchmarks.peers.{module}", "worker", f"--concurrency={processes}", "--pool=prefork"]
        self._process = subprocess.Popen(
            [str(python), "-m", "celery", *command, "-Q", "peer", "--without-gossip", "--without-mingle"],
            env={**os.environ, **variables, "TOKENIZERS_PARALLELISM": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._until("peer:ready", processes, READY_S)

    def seconds(self, documents: Sequence[list[str]]) -> float:
        """Run one round: enqueue every document, wait until all are done."""
        self._redis.delete("peer:done")
        start = time.perf_counter()
        for chunks in documents:
            self._app.send_task("peer.embed", args=[chunks], queue="peer", ignore_result=True)
        self._until("peer:done", len(documents), 600.0)
        return time.perf_counter() - start

    def end(self) -> None:
        """End the worker and its children."""
        self._app.close()
        os.killpg(self._process.pid, signal.SIGKILL)  # a session of its own
        self._process.wait()
        self._redis.close()

    def _until(self, key: str, count: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while int(self._redis.get(key) or 0) < count:  # type: ignore[arg-type]
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._process.args}: {key} did not reach {count}")
            time.sleep(0.01)


@contextmanager
def ended(peers: "list[Child | CeleryPeer]") -> Iterator[None]:
    """End all peers at the end."""
    try:
        yield
    finally:
        for peer in peers:
            peer.end()
