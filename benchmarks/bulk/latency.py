"""One-item jobs on an idle worker and beside a bulk run."""

import json
import statistics
import time
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.bulk.command import end_of, rows_written, start
from benchmarks.load import mixed_texts
from benchmarks.queue import Passage, Sender, workers
from tasks.demo.stack import end
from worker.model.encoder import WindowBatch
from worker.screening.backends import Backend
from worker.screening.batching import length_sorted_batches
from worker.screening.screener import prepare
from worker.topic.server import running_redis

RATE = 2.0
"""One-item jobs a second, at random moments: sent one after the other they would all arrive as a batch begins."""

TEXT = " ".join(["river"] * 55)
TEXTS, REPEATS = 2000, 20
"""Of the corpus that keeps the worker busy: twenty minutes at 9,000 tokens a second; it is stopped long before."""

FULL = 0.9
"""Share of the budget from which a batch counts as full."""

START_S = 120.0


def measure(directory: Path, backend: Backend, budget: int, samples: int) -> dict[str, Any]:
    """Return milliseconds of so many jobs, idle and beside bulk, and of one full batch of ``budget`` padded tokens."""
    texts = mixed_texts(TEXTS)
    corpus = directory / "busy.jsonl"
    lines = [json.dumps({"text": text}) for text in texts]
    corpus.write_text("\n".join(lines * REPEATS) + "\n", encoding="utf-8")
    batch = full_batch_s(backend, texts, budget)
    with running_redis() as url, workers(url):
        sender = Sender(url)
        sender.saturate(texts[:16], 1, 16)
        idle = sender.arrive([TEXT] * samples, RATE)
        beside, rows_per_s = _beside_bulk(sender, url, directory, corpus, samples)
        sender.close()
    allowed = 2 * idle.percentile(0.95) + 1000 * batch
    return {
        "samples": samples,
        "idle": _percentiles(idle),
        "beside_bulk": _percentiles(beside),
        "batch_ms": round(1000 * batch, 1),
        "allowed_p95_ms": round(allowed, 1),
        "within": beside.percentile(0.95) <= allowed,
        "bulk_rows_per_s_meanwhile": round(rows_per_s, 1),
    }


def full_batch_s(backend: Backend, texts: list[str], budget: int) -> float:
    """Return the median time of a full batch of the texts' windows, alone on the machine."""
    windows = [window for text in prepare(backend.tokenizer, texts[:400]) for window in text.windows]
    chosen = length_sorted_batches([len(window) for window in windows], budget)
    batches = [WindowBatch.of([windows[i] for i in batch]) for batch in chosen]
    full = [batch for batch in batches if batch.ids.size >= FULL * budget]
    backend.encoder.score(full[0])
    took = []
    for batch in full[:20]:
        begun = time.perf_counter()
        backend.encoder.score(batch)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def _beside_bulk(sender: Sender, url: str, directory: Path, corpus: Path, samples: int) -> tuple[Passage, float]:
    """Measure while a bulk run is under way.

    Raises:
        RuntimeError: The run did not begin, or ended too early.
    """
    log = directory / "busy.log"
    process = start(url, log, "run", corpus, "--out", directory / "busy-out.jsonl")
    redis: Redis = Redis.from_url(url, decode_responses=True, protocol=2)
    try:
        deadline = time.monotonic() + START_S
        while not rows_written(redis) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        before, begun = rows_written(redis), time.monotonic()
        found = sender.arrive([TEXT] * samples, RATE)
        rows, seconds = rows_written(redis) - before, time.monotonic() - begun
        if not before or process.poll() is not None:
            raise RuntimeError(f"no bulk run was under way:\n{end_of(log)}")
    finally:
        end(process)
        redis.close()
    return found, rows / seconds


def _percentiles(passage: Passage) -> dict[str, float]:
    return {f"p{share}_ms": round(passage.percentile(share / 100), 1) for share in (50, 95, 99)}
