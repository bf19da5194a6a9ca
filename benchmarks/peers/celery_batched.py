"""celery-batches with sentence-transformers: tasks are gathered and encoded together."""

import os
from typing import Any

from celery import Celery, signals
from celery_batches import Batches

app = Celery("batches_peer", broker=os.environ.get("PEER_BROKER", "memory://"))
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=0, task_default_queue="peer")
_loaded: dict[str, Any] = {}


@signals.worker_process_init.connect
def _load(**_: Any) -> None:
    import torch
    from redis import Redis
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(int(os.environ["PEER_THREADS"]))
    _loaded["model"] = SentenceTransformer(os.environ["PEER_MODEL"], device="cpu")
    _loaded["redis"] = Redis.from_url(os.environ["PEER_BROKER"])
    _loaded["redis"].incr("peer:ready")


@app.task(name="peer.embed", base=Batches, flush_every=64, flush_interval=0.1)
def embed(requests: list[Any]) -> None:
    """Embed the gathered documents and count them."""
    _loaded["model"].encode([chunk for request in requests for chunk in request.args[0]])
    _loaded["redis"].incrby("peer:done", len(requests))
