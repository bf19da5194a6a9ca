"""Section 4: start, imports, memory. Section 5: cost against the text's length."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.load import mixed_texts
from benchmarks.machine import memory
from benchmarks.queue import Sender, workers
from worker.screening.loading import load_screener
from worker.settings import Settings
from worker.topic.server import running_redis

LENGTHS = (10, 100, 1_000, 10_000, 100_000)
BARE = ("-c", "pass")
LIBRARIES = """
import json, os
import celery.app.amqp, kombu.transport.redis, torch
from transformers import AutoModel, BertModel
import tasks.app, worker.screening.loading
from benchmarks.machine import memory
print(json.dumps(memory(os.getpid())))
"""
"""What interpreter and libraries take before a model is loaded."""


def measure(*, repeats: int) -> dict[str, Any]:
    """Return seconds of imports and of a warm start, and memory of the first worker and of a second one."""
    bare = _seconds(BARE, repeats)
    ready, sizes = [], []
    with running_redis() as url:
        for _ in range(repeats):
            start = time.perf_counter()
            with workers(url, 1) as pids:
                ready.append(time.perf_counter() - start)
                del pids
        with workers(url, 2) as pids:
            sender = Sender(url)
            sender.saturate(mixed_texts(40), 1, 40)
            sizes = [memory(pid) for pid in pids]
            sender.close()
    done = subprocess.run([sys.executable, "-c", LIBRARIES], check=True, capture_output=True, text=True)
    libraries = json.loads(done.stdout)
    return {
        "import_schemas_s": round(_seconds(("-c", "import schemas"), repeats) - bare, 3),
        "import_command_line_s": round(_seconds(("-c", "import tasks.cli.main"), repeats) - bare, 3),
        "ready_s": round(statistics.median(ready), 2),
        "two_workers": sizes,
        "libraries": libraries,
        "second_worker_adds_mb": round(sizes[1]["private_mb"] - libraries["private_mb"], 1),
    }


def by_length(settings: Settings, *, repeats: int) -> dict[str, Any]:
    """Return milliseconds to screen one text, by its characters, and what a character costs at 100,000 over 10,000."""
    screener = load_screener(settings)
    try:
        found = {}
        for length in LENGTHS:
            text = " ".join(mixed_texts(40, seed=length))
            while len(text) < length:
                text += " " + text
            found[length] = _screen([text[:length]], screener, repeats)
    finally:
        screener.engine.stop()
    return {
        "screen_ms_by_characters": {str(length): round(1000 * seconds, 1) for length, seconds in found.items()},
        "cost_per_character_100k_over_10k": round(found[100_000] / found[10_000] / 10, 3),
    }


def _screen(texts: Sequence[str], screener: Any, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        screener.screen(texts)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _seconds(arguments: tuple[str, ...], repeats: int) -> float:
    found = []
    for _ in range(1 + repeats):  # the first one reads the files
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, env=dict(os.environ))
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])
