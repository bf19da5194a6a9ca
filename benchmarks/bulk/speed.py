"""Rows a second through files, queue and worker, beside the engine alone on the same texts."""

import json
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.bulk.files import through
from benchmarks.load import mixed_texts
from benchmarks.queue import Sender, workers
from benchmarks.rounds import interleaved, median, ratio
from benchmarks.worker import engine_alone
from tasks.bulk.queue import QueueBackend
from worker.screening.backends import Backend
from worker.topic.server import running_redis

BULK, ENGINE = "bulk", "engine alone"
TARGET = 0.95


def measure(
    directory: Path, backend: Backend, budget: int, *, texts: int, rounds: int, budget_s: float
) -> dict[str, Any]:
    """Return rows a second of both, in interleaved rounds, and the median of the rounds' ratios.

    The engine alone has batches of ``budget`` padded tokens, as the worker has.
    """
    load = mixed_texts(texts)
    corpus = directory / "mixed.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in load), encoding="utf-8")
    with running_redis() as url, workers(url):
        sender = Sender(url)
        sender.saturate(load[: max(8, texts // 20)], 8, 512)
        sender.close()
        redis: Redis = Redis.from_url(url, decode_responses=True, protocol=2)

        def bulk() -> float:
            rows, seconds = through(lambda run: QueueBackend(redis, run), corpus, directory / "mixed-out.jsonl")
            return rows / seconds

        found = interleaved({ENGINE: lambda: engine_alone(backend, load, budget), BULK: bulk}, rounds, budget_s)
        redis.close()
    over = ratio(found[BULK], found[ENGINE])
    return {
        "texts": texts,
        "rounds": len(found[BULK]),
        "bulk_rows_per_s": median(found[BULK]),
        "engine_rows_per_s": median(found[ENGINE]),
        "bulk_over_engine": over,
        "target": TARGET,
        "reached": over >= TARGET,
    }
