"""Sections 2 and 3: the worker end to end, beside the engine alone and beside the peers, in the same rounds."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.load import mixed_texts
from benchmarks.peers.run import BATCHES_PYTHON, INFINITY_PYTHON, CeleryPeer, Child, chunked, ended
from benchmarks.queue import Sender, workers
from benchmarks.rounds import interleaved, median, ratio
from worker.hardware import available_cores
from worker.model.encoder import WindowBatch
from worker.screening.assets import arithmetic_threads, load_codebook_and_model
from worker.screening.backends import Backend, choose_backend
from worker.screening.batching import length_sorted_batches
from worker.screening.screener import prepare
from worker.settings import Settings
from worker.topic.server import running_redis

OUTSTANDING = 512
"""Items a saturating producer is ahead of the results: enough to keep the worker busy, not all of the load."""

LAPS = 3
"""Times the load goes through the worker in a round: its first batch and its last, which no other hides, count less."""

ENGINE, BULK, SINGLE = "engine alone", "worker, 64-item jobs", "worker, one-item jobs"
PEERS = {
    "over_celery_pipeline": "celery + pipeline",
    "over_celery_batches": "celery-batches + s-t",
    "over_sentence_transformers": "sentence-transformers",
    "over_sentence_transformers_best": "sentence-transformers bf16",
    "over_infinity": "infinity-emb",
}


def measure(
    settings: Settings, *, texts: int, rounds: int, latency_items: int, peers: bool, budget_s: float
) -> dict[str, Any]:
    """Return ratios and absolute figures of the worker, in texts per second and milliseconds."""
    load = mixed_texts(texts)
    backend = choose_backend(settings)
    report: dict[str, Any] = {"ratios": {}, "absolute": {"backend": backend.encoder.name}}
    with ExitStack() as stack:
        url = stack.enter_context(running_redis())
        stack.enter_context(workers(url))
        sender = Sender(url)
        stack.callback(sender.close)
        sender.saturate(load[: max(8, texts // 10)], 8, OUTSTANDING)
        passages: dict[str, list[Any]] = {BULK: [], SINGLE: []}

        def through(name: str, items: int) -> float:
            passages[name].append(sender.saturate(load * LAPS, items, OUTSTANDING))
            return float(passages[name][-1].rate)

        runs: dict[str, Callable[[], float]] = {
            ENGINE: lambda: engine_alone(backend, load, settings.batch_tokens),
            BULK: lambda: through(BULK, 64),
            SINGLE: lambda: through(SINGLE, 1),
        }
        if peers:
            runs |= _peers(stack, settings, load)
        found = interleaved(runs, rounds, budget_s)
        report["absolute"]["latency"] = _latency(sender, load, median(found[SINGLE]), latency_items, backend)
    report["ratios"] = {
        "e2e_bulk_over_engine": ratio(found[BULK], found[ENGINE]),
        "e2e_single_over_engine": ratio(found[SINGLE], found[ENGINE]),
        **{key: ratio(found[BULK], found[name]) for key, name in PEERS.items() if name in found},
    }
    report["absolute"]["texts_per_s"] = {name: median(figures) for name, figures in found.items()}
    report["absolute"]["saturated"] = {
        name: {f"p{share}_ms": round(each[-1].percentile(share / 100)) for share in (50, 95, 99)}
        for name, each in passages.items()
    }
    return report


def scaling(*, texts: int, rounds: int) -> dict[str, Any]:
    """Return texts per second of one worker on one core, and of one on every core, each with one thread."""
    load = mixed_texts(texts)
    found: dict[str, list[float]] = {}
    counts = sorted({1, available_cores()})
    for _ in range(rounds):
        for count in counts:
            with running_redis() as url, workers(url, count, environment={"FIREWALL_THREADS": "1"}, pin=True):
                sender = Sender(url)
                sender.saturate(load[:16], 1, OUTSTANDING)
                found.setdefault(str(count), []).append(sender.saturate(load, 8, OUTSTANDING).rate)
                sender.close()
    return {"texts_per_s_by_workers": {name: median(figures) for name, figures in found.items()}}


def engine_alone(backend: Backend, load: Sequence[str], batch_tokens: int) -> float:
    """Score the same windows without queue, jobs or threads; return texts per second."""
    windows = [window for text in prepare(backend.tokenizer, load) for window in text.windows]
    chosen = length_sorted_batches([len(window) for window in windows], batch_tokens)
    batches = [WindowBatch.of([windows[i] for i in batch]) for batch in chosen]
    start = time.perf_counter()
    for batch in batches:
        backend.encoder.score(batch)
    return len(load) / (time.perf_counter() - start)


def _peers(stack: ExitStack, settings: Settings, load: Sequence[str]) -> dict[str, Callable[[], float]]:
    """Start the peers and return a round of each, in texts per second."""
    _, files = load_codebook_and_model(settings)
    cores, documents = arithmetic_threads(settings), chunked(load)
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-peers-")))
    listed = directory / "documents.json"
    listed.write_text(json.dumps(documents), encoding="utf-8")
    started: list[Child | CeleryPeer] = []
    stack.enter_context(ended(started))
    rounds: dict[str, Callable[[], float]] = {}

    def child(name: str, python: Path, script: str, dtype: str, batch: int) -> None:
        peer = Child(python, script, str(files.directory), dtype, str(batch), str(listed), str(cores))
        started.append(peer)
        rounds[name] = lambda: len(documents) / peer.seconds()

    def queued(name: str, module: str, *, python: str | Path, processes: int, threads: int) -> None:
        url = stack.enter_context(running_redis())
        peer = CeleryPeer(module, url, files.directory, python=Path(python), processes=processes, threads=threads)
        started.append(peer)
        rounds[name] = lambda: len(documents) / peer.seconds(documents)

    queued("celery + pipeline", "celery_pipeline", python=sys.executable, processes=cores, threads=1)
    if BATCHES_PYTHON.is_file():
        queued("celery-batches + s-t", "celery_batched", python=BATCHES_PYTHON, processes=1, threads=cores)
    child("sentence-transformers", Path(sys.executable), "encode.py", "float32", 32)
    child("sentence-transformers bf16", Path(sys.executable), "encode.py", "bfloat16", 32)
    if INFINITY_PYTHON.is_file():
        child("infinity-emb", INFINITY_PYTHON, "infinity.py", "float32", 32)
    return rounds


def _latency(sender: Sender, load: Sequence[str], rate: float, items: int, backend: Backend) -> dict[str, Any]:
    """Return milliseconds at half load, and of single texts of about 60 tokens on an idle worker."""
    half = sender.arrive([load[i % len(load)] for i in range(items)], rate / 2)
    short = [" ".join(["river"] * 55)] * min(items, 30)
    idle = sender.one_by_one(short)
    batch = WindowBatch.of(prepare(backend.tokenizer, short[:1])[0].windows)
    forward = []
    for _ in range(10):
        start = time.perf_counter()
        backend.encoder.score(batch)
        forward.append(1000 * (time.perf_counter() - start))
    return {
        "half_load": {f"p{share}_ms": round(half.percentile(share / 100), 1) for share in (50, 95, 99)},
        "idle_p50_ms": round(idle.percentile(0.5), 1),
        "forward_alone_ms": round(sorted(forward)[5], 1),
    }
