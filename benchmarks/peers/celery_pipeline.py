"""A Celery prefork task that calls the transformers pipeline for every text: what one writes first."""

import os
from typing import Any

from celery import Celery, signals

app = Celery("pipeline_peer", broker=os.environ.get("PEER_BROKER", "memory://"))
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1, task_acks_late=True, task_default_queue="peer")
_loaded: dict[str, Any] = {}


@signals.worker_process_init.connect
def _load(**_: Any) -> None:
    """Load in each child: a model that was loaded before the fork hangs in its threads."""
    import torch
    from redis import Redis
    from transformers import pipeline

    torch.set_num_threads(1)  # as many children as cores
    _loaded["pipe"] = pipeline("feature-extraction", model=os.environ["PEER_MODEL"], device="cpu")
    _loaded["redis"] = Redis.from_url(os.environ["PEER_BROKER"])
    _loaded["redis"].incr("peer:ready")


@app.task(name="peer.embed")
def embed(chunks: list[str]) -> None:
    """Embed one document and count it."""
    import numpy as np

    for tokens in _loaded["pipe"](chunks, truncation=True, max_length=256):
        np.asarray(tokens[0]).mean(axis=0)
    _loaded["redis"].incr("peer:done")
