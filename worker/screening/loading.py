"""Bring a process to the point where it can screen: backend, golden self-test, warm-up, engine."""

import logging
import time

from worker.screening.backends import choose_backend
from worker.screening.engine import Engine, EngineLimits
from worker.screening.policy_file import load_rules
from worker.screening.screener import Screener
from worker.settings import Settings

log = logging.getLogger(__name__)


def load_screener(settings: Settings) -> Screener:
    """Load model and codebook, prove that they belong together, and start the engine.

    Raises:
        ModelError, CodebookError, MissingExtra: What is wrong and how to mend it; the worker must not start.
    """
    start = time.perf_counter()
    backend = choose_backend(settings)
    engine = Engine(
        backend.encoder,
        len(backend.codebook.header.signals),
        EngineLimits(
            batch_tokens=settings.batch_tokens,
            queue_tokens=settings.queue_tokens,
            linger_s=settings.linger_ms / 1000,
            bulk_share=settings.bulk_share,
        ),
    )
    log.info(
        "ready: model %s, codebook %s, backend %s, %.1f s",
        *(backend.model, backend.codebook.fingerprint, backend.encoder.name, time.perf_counter() - start),
    )
    return Screener(backend.codebook, backend.tokenizer, engine, load_rules(settings.policies).policies)
