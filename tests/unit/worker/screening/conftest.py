"""A screener whose encoder is fake: the words "ignore" and "instructions" are what it finds suspicious."""

from collections.abc import Callable, Iterator

import pytest

from tests.tiny_models import wordpiece_tokenizer
from tests.unit.fakes import FakeEncoder
from worker.codebook.format import Codebook
from worker.model.windows import WindowTokenizer
from worker.screening.engine import Engine, EngineLimits
from worker.screening.policy import Policy
from worker.screening.screener import Screener

VOCAB = wordpiece_tokenizer().get_vocab()


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder(
        {VOCAB["ignore"]: 20.0, VOCAB["instructions"]: 20.0}, poison=[VOCAB["house"]], nan=[VOCAB["train"]]
    )


@pytest.fixture
def make_screener(codebook: Codebook, tokenizer: WindowTokenizer) -> Iterator[Callable[[FakeEncoder], Screener]]:
    engines: list[Engine] = []

    def make(encoder: FakeEncoder, cutter: WindowTokenizer = tokenizer) -> Screener:
        engine = Engine(encoder, encoder.n_signals, EngineLimits())
        engines.append(engine)
        return Screener(codebook, cutter, engine, {"default": Policy()})

    yield make
    for engine in engines:
        engine.stop()


@pytest.fixture
def screener(make_screener: Callable[[FakeEncoder], Screener], encoder: FakeEncoder) -> Screener:
    return make_screener(encoder)
