"""A screener that needs no model: real tokeniser, engine and codebook around a fake forward pass that can misbehave."""

import os
import signal
import tempfile
import time
from pathlib import Path

from tests.tiny_models import wordpiece_tokenizer
from tests.unit.fakes import FakeEncoder, make_codebook
from worker.model.encoder import FloatArray, WindowBatch
from worker.model.windows import WindowTokenizer
from worker.screening.engine import Engine, EngineLimits
from worker.screening.policy import Policy
from worker.screening.screener import Screener

SLEEP_VARIABLE = "CHAOS_FORWARD_S"
"""Environment variable: seconds a forward pass takes."""

KILLS, HOARDS, HANGS, FAILS, ALARMS = "house", "system", "music", "water", "ignore"
"""Words that make the forward pass kill its process, take ever more memory, hang, raise, and find something."""

MOST_HOARDED_MB = 2000
"""Memory at which a forward pass gives up hoarding, should nobody kill it."""

CODEBOOK = make_codebook(fingerprint="chaos")


class Misbehaving(FakeEncoder):
    """A forward pass that does what the text says."""

    def __init__(self, vocabulary: dict[str, int], seconds: float) -> None:
        super().__init__({vocabulary[ALARMS]: 20.0}, poison=[vocabulary[FAILS]])
        self._kills, self._hoards, self._hangs = (vocabulary[word] for word in (KILLS, HOARDS, HANGS))
        self._seconds = seconds

    def score(self, batch: WindowBatch) -> FloatArray:
        if (batch.ids == self._kills).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (batch.ids == self._hoards).any():
            hoard()
        while (batch.ids == self._hangs).any():
            time.sleep(1)
        time.sleep(self._seconds)
        self.batches.clear()
        return super().score(batch)


def hoard() -> None:
    """Take memory, little by little, as a leak does."""
    hoarded = []
    while len(hoarded) < MOST_HOARDED_MB:
        hoarded.append(b"x" * (1 << 20))
        time.sleep(0.001)
    raise MemoryError


def misbehaving_screener(_settings: object) -> Screener:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "tokenizer.json")
        tokenizer = wordpiece_tokenizer()
        tokenizer.save(str(path))
        cutter = WindowTokenizer(path, size=16, overlap=4)
    encoder = Misbehaving(tokenizer.get_vocab(), float(os.environ.get(SLEEP_VARIABLE, "0.02")))
    engine = Engine(encoder, encoder.n_signals, EngineLimits(batch_tokens=256))
    return Screener(CODEBOOK, cutter, engine, {"default": Policy()})
