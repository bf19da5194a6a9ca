"""``python -m tests.fast_firewall``: the command line with a forward pass that costs nothing.

Everything else is real: tokeniser, engine, queue, publishing. The words "ignore" and "instructions" are what it
finds suspicious. FAST_DELAY_S is how long a batch takes, so that a test can kill something in the middle.
"""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.tiny_models import wordpiece_tokenizer
from tests.unit.fakes import FakeEncoder, make_codebook
from worker.model.encoder import FloatArray, WindowBatch
from worker.model.windows import WindowTokenizer
from worker.screening import loading
from worker.screening.engine import Engine, EngineLimits
from worker.screening.policy import Policy
from worker.screening.screener import Screener
from worker.settings import Settings


class SlowEncoder(FakeEncoder):
    """Takes its time."""

    def score(self, batch: WindowBatch) -> FloatArray:
        time.sleep(float(os.environ.get("FAST_DELAY_S", "0")))
        self.batches.clear()
        return super().score(batch)


def load_screener(settings: Settings) -> Screener:
    """Stands in for the function of the same name."""
    wordpiece = wordpiece_tokenizer()
    with TemporaryDirectory() as directory:
        file = Path(directory, "tokenizer.json")
        wordpiece.save(str(file))
        tokenizer = WindowTokenizer(file, size=64, overlap=16)
    vocabulary = wordpiece.get_vocab()
    encoder = SlowEncoder({vocabulary["ignore"]: 20.0, vocabulary["instructions"]: 20.0})
    codebook = make_codebook(fingerprint="fast")
    limits = EngineLimits(batch_tokens=settings.batch_tokens, queue_tokens=settings.queue_tokens)
    return Screener(codebook, tokenizer, Engine(encoder, encoder.n_signals, limits), {"default": Policy()})


if __name__ == "__main__":
    loading.load_screener = load_screener
    from tasks.cli.main import run

    run()
