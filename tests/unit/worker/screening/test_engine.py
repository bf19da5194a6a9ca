"""The engine under many threads, with poison, with bulk work, and at its end."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from tests.unit.fakes import FakeEncoder, window_of
from worker.errors import EngineStopped, ForwardFailed, Overloaded
from worker.model.encoder import FloatArray, WindowBatch
from worker.model.windows import Window
from worker.screening import engine as engine_module
from worker.screening.engine import Engine, EngineLimits

POISON, NAN = 666, 667
WEIGHTS = {number: float(number) for number in range(1, 200)}
Make = Callable[..., Engine]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Engine, FakeEncoder]] = []

    def make_engine(encoder: FakeEncoder, **limits: float) -> Engine:
        engine = Engine(encoder, encoder.n_signals, EngineLimits(**limits))  # type: ignore[arg-type]
        made.append((engine, encoder))
        return engine

    yield make_engine
    for engine, encoder in made:
        encoder.open.set()
        engine.stop()


def blocked(encoder: FakeEncoder, engine: Engine) -> None:
    """Hold the engine inside a forward pass, so that what is submitted next has to wait."""
    encoder.open.clear()
    encoder.entered.clear()
    engine.submit([window_of(1)])
    assert encoder.entered.wait(10)


def test_logits_come_back_in_the_windows_order(make: Make) -> None:
    engine = make(FakeEncoder(WEIGHTS, n_signals=2))
    logits = engine.submit([window_of(5), window_of(7, 7, 7), window_of(2, 3)]).result(10)
    assert logits.tolist() == [[5, 5], [21, 21], [5, 5]]
    assert logits.dtype == np.float32


def test_results_are_right_under_many_threads(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder, batch_tokens=64)

    def ask(number: int) -> bool:
        windows = [window_of(*[1 + (number + k) % 150] * (1 + k % 5)) for k in range(1 + number % 4)]
        expected = [float((1 + (number + k) % 150) * (1 + k % 5)) for k in range(1 + number % 4)]
        with engine.preparing():
            future = engine.submit(windows, bulk=number % 3 == 0)
        return future.result(20)[:, 0].tolist() == expected

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(400)))
    assert len(encoder.batches) < 1000


def test_windows_that_wait_together_share_a_batch(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder)
    blocked(encoder, engine)
    futures = [engine.submit([window_of(number)]) for number in range(2, 12)]
    encoder.open.set()
    wait(futures, timeout=10)
    assert [len(batch) for batch in encoder.batches] == [1, 10]


def test_batches_stay_within_the_token_budget(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder, batch_tokens=64)
    blocked(encoder, engine)
    futures = [engine.submit([window_of(*[3] * (number % 9 + 1))]) for number in range(60)]
    encoder.open.set()
    wait(futures, timeout=10)
    assert all(max(map(len, batch)) * len(batch) <= 64 for batch in encoder.batches)


@pytest.mark.parametrize("bad", [POISON, NAN])
def test_poison_fails_alone(make: Make, bad: int) -> None:
    encoder = FakeEncoder(WEIGHTS, poison=[POISON], nan=[NAN])
    engine = make(encoder)
    blocked(encoder, engine)
    futures = [engine.submit([window_of(bad if number == 5 else number)]) for number in range(1, 10)]
    encoder.open.set()
    outcomes = [future.exception(10) for future in futures]
    assert [number for number, error in enumerate(outcomes, start=1) if error is not None] == [5]
    assert isinstance(outcomes[4], ForwardFailed)
    assert [future.result()[0, 0] for future in futures if not future.exception()] == [1, 2, 3, 4, 6, 7, 8, 9]


def test_a_document_with_one_poisoned_window_fails_whole(make: Make) -> None:
    engine = make(FakeEncoder(WEIGHTS, poison=[POISON]))
    future = engine.submit([window_of(1), window_of(POISON), window_of(2)])
    assert isinstance(future.exception(10), ForwardFailed)


def test_engine_lives_on_after_poison(make: Make) -> None:
    engine = make(FakeEncoder(WEIGHTS, poison=[POISON]))
    engine.submit([window_of(POISON)]).exception(10)
    assert engine.submit([window_of(4)]).result(3)[0, 0] == 4


def test_failure_says_nothing_of_the_input(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    engine = make(FakeEncoder(WEIGHTS, poison=[POISON]))
    error = engine.submit([window_of(POISON)]).exception(10)
    assert "RuntimeError" in str(error)
    assert str(POISON) not in str(error) + caplog.text


class WrongShape(FakeEncoder):
    """A backend that answers one window too few."""

    def score(self, batch: WindowBatch) -> FloatArray:
        logits = super().score(batch)
        return logits[1:] if (batch.ids == POISON).any() else logits


def test_engine_outlives_an_answer_of_the_wrong_shape(make: Make) -> None:
    engine = make(WrongShape(WEIGHTS))
    assert isinstance(engine.submit([window_of(POISON)]).exception(2), ForwardFailed)
    assert engine.submit([window_of(4)]).result(2)[0, 0] == 4


def order_of_service(encoder: FakeEncoder) -> list[int]:
    return [batch[0][0] for batch in encoder.batches]


def test_interactive_goes_before_bulk(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder, batch_tokens=64, bulk_share=0.1)
    blocked(encoder, engine)
    futures = [engine.submit([window_of(*[20] * 64)], bulk=True) for _ in range(3)]
    futures += [engine.submit([window_of(*[10] * 64)]) for _ in range(3)]
    encoder.open.set()
    wait(futures, timeout=10)
    assert order_of_service(encoder) == [1, 10, 10, 10, 20, 20, 20]


def test_bulk_gets_its_share_while_interactive_waits(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder, batch_tokens=64, bulk_share=0.25)
    blocked(encoder, engine)
    futures = [engine.submit([window_of(*[10] * 64)]) for _ in range(16)]
    futures += [engine.submit([window_of(*[20] * 64)], bulk=True) for _ in range(3)]
    encoder.open.set()
    wait(futures, timeout=10)
    served = order_of_service(encoder)[1:]
    assert served[:12].count(20) == 3
    assert served[0] == 10


def test_idle_engine_does_not_linger(make: Make) -> None:
    engine = make(FakeEncoder(WEIGHTS), linger_s=30.0)
    assert engine.submit([window_of(3)]).result(5)[0, 0] == 3


def test_linger_lets_a_job_in_preparation_join_the_batch(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder, linger_s=20.0)
    with engine.preparing():
        first = engine.submit([window_of(3)])
        second = engine.submit([window_of(4)])
    wait([first, second], timeout=10)
    assert [len(batch) for batch in encoder.batches] == [2]


def test_full_queue_is_overload(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SUBMIT_TIMEOUT_S", 0.05)
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder, queue_tokens=8)
    blocked(encoder, engine)
    engine.submit([window_of(*[2] * 8)])
    with pytest.raises(Overloaded, match="FIREWALL_QUEUE_TOKENS") as caught:
        engine.submit([window_of(2)])
    assert caught.value.retryable


def test_submit_waits_for_room(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder, queue_tokens=8)
    blocked(encoder, engine)
    engine.submit([window_of(*[2] * 8)])
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(lambda: engine.submit([window_of(9)]).result(10))
        time.sleep(0.05)
        assert not late.done()
        encoder.open.set()
        assert late.result(10)[0, 0] == 9


def test_document_larger_than_the_queue_gets_in_when_it_is_empty(make: Make) -> None:
    engine = make(FakeEncoder(WEIGHTS), queue_tokens=4)
    assert engine.submit([window_of(*[1] * 40)]).result(10)[0, 0] == 40


def test_stop_finishes_the_batch_and_fails_what_waits() -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = Engine(encoder, encoder.n_signals, EngineLimits())
    encoder.open.clear()
    running = engine.submit([window_of(5)])
    assert encoder.entered.wait(10)
    waiting = [engine.submit([window_of(6)]), engine.submit([window_of(7)], bulk=True)]
    explanation = engine.explain(window_of(8))
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    time.sleep(0.05)
    encoder.open.set()
    stopper.join(10)
    assert running.result(5)[0, 0] == 5
    for future in [*waiting, explanation]:
        assert isinstance(future.exception(5), EngineStopped)


def test_stopped_engine_takes_nothing() -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = Engine(encoder, encoder.n_signals, EngineLimits())
    engine.stop()
    with pytest.raises(EngineStopped):
        engine.submit([window_of(1)])
    with pytest.raises(EngineStopped):
        engine.explain(window_of(1))


def test_stop_wakes_a_thread_that_waits_for_room() -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = Engine(encoder, encoder.n_signals, EngineLimits(queue_tokens=8))
    blocked(encoder, engine)
    engine.submit([window_of(*[2] * 8)])
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(engine.submit, [window_of(3)])
        time.sleep(0.05)
        stopper = threading.Thread(target=engine.stop)
        stopper.start()
        assert isinstance(late.exception(5), EngineStopped)
        encoder.open.set()
        stopper.join(10)


def test_explanation_is_each_tokens_share(make: Make) -> None:
    engine = make(FakeEncoder(WEIGHTS, n_signals=2))
    assert engine.explain(window_of(3, 9, 300)).result(10).tolist() == [[3, 3], [9, 9], [0, 0]]


def test_failed_explanation_is_an_error_of_its_own(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS)
    encoder.attribution_fails = True
    engine = make(encoder)
    assert isinstance(engine.explain(window_of(3)).exception(10), ForwardFailed)
    assert engine.submit([window_of(4)]).result(3)[0, 0] == 4


class Explaining(FakeEncoder):
    """Remembers how many windows it explained at once, and fails on poison."""

    def __init__(self) -> None:
        super().__init__(WEIGHTS)
        self.explained: list[int] = []

    def attribute(self, batch: WindowBatch) -> FloatArray:
        self.explained.append(len(batch.ids))
        if POISON in batch.ids:
            raise RuntimeError("poison")
        return super().attribute(batch)


def test_explanations_that_wait_together_share_a_batch(make: Make) -> None:
    encoder = Explaining()
    engine = make(encoder)
    blocked(encoder, engine)
    futures = [engine.explain(window_of(*[3] * length)) for length in (4, 4, 4)]
    encoder.open.set()
    assert [future.result(10).shape[0] for future in futures] == [4, 4, 4]
    assert encoder.explained == [3]


def test_one_failed_explanation_leaves_the_others(make: Make) -> None:
    encoder = Explaining()
    engine = make(encoder)
    blocked(encoder, engine)
    futures = [engine.explain(window_of(number)) for number in (3, POISON, 5)]
    encoder.open.set()
    assert isinstance(futures[1].exception(10), ForwardFailed)
    assert [futures[n].result(10)[0, 0] for n in (0, 2)] == [3, 5]


def test_padding_is_cut_from_explanations(make: Make) -> None:
    encoder = Explaining()
    engine = make(encoder)
    blocked(encoder, engine)
    lengths = (20, 19, 20)
    futures = [engine.explain(window_of(*[3] * length)) for length in lengths]
    encoder.open.set()
    assert [len(future.result(10)) for future in futures] == list(lengths)
    assert encoder.explained == [3]


def test_cancelled_document_does_not_stop_the_engine(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS, poison=[POISON])
    engine = make(encoder)
    blocked(encoder, engine)
    assert engine.submit([window_of(2)]).cancel()
    assert engine.submit([window_of(POISON)]).cancel()
    assert engine.explain(window_of(2)).cancel()
    encoder.open.set()
    assert engine.submit([window_of(4)]).result(3)[0, 0] == 4


def test_counters_add_up(make: Make) -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder)
    blocked(encoder, engine)
    futures = [engine.submit([window_of(2, 2)]), engine.submit([window_of(3, 3, 3)])]
    encoder.open.set()
    wait(futures, timeout=10)
    engine.stop()
    stats = engine.stats
    assert (stats.batches, stats.windows, stats.tokens, stats.padded_tokens) == (2, 3, 6, 7)


class Dying(FakeEncoder):
    """A backend that takes the engine's thread with it."""

    def score(self, batch: WindowBatch) -> FloatArray:
        super().score(batch)
        raise SystemExit


# The thread ends without its last words.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
class TestThreadThatDies:
    @pytest.fixture
    def dying(self) -> tuple[Engine, Dying]:
        encoder = Dying(WEIGHTS)
        engine = Engine(encoder, encoder.n_signals, EngineLimits(queue_tokens=8))
        assert engine.alive
        blocked(encoder, engine)
        return engine, encoder

    def test_fails_everything_that_waits(self, dying: tuple[Engine, Dying]) -> None:
        engine, encoder = dying
        waiting = [
            engine.submit([window_of(6)]),
            engine.submit([window_of(7)], bulk=True),
            engine.explain(window_of(8)),
        ]
        encoder.open.set()
        for future in waiting:
            assert isinstance(future.exception(5), EngineStopped)
        engine._thread.join(5)
        assert not engine.alive
        with pytest.raises(EngineStopped):
            engine.submit([window_of(1)])

    def test_fails_what_it_had_in_hand(self) -> None:
        encoder = Dying(WEIGHTS)
        engine = Engine(encoder, encoder.n_signals, EngineLimits())
        assert isinstance(engine.submit([window_of(6)]).exception(3), EngineStopped)

    def test_wakes_a_thread_that_waits_for_room(self, dying: tuple[Engine, Dying]) -> None:
        engine, encoder = dying
        engine.submit([window_of(*[2] * 8)])
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(engine.submit, [window_of(3)])
            time.sleep(0.05)
            encoder.open.set()
            try:
                assert isinstance(late.exception(5), EngineStopped)
            finally:
                engine.stop()  # wakes it otherwise


def test_a_stopped_engine_is_not_alive() -> None:
    encoder = FakeEncoder(WEIGHTS)
    engine = Engine(encoder, encoder.n_signals, EngineLimits())
    assert engine.alive
    engine.stop()
    assert not engine.alive


def test_bulk_that_fills_its_room_keeps_no_interactive_work_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SUBMIT_TIMEOUT_S", 0.05)
    monkeypatch.setattr(engine_module, "BULK_TIMEOUT_S", 0.05)
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder, queue_tokens=8)
    blocked(encoder, engine)
    bulk = engine.submit([window_of(*[2] * 8)], bulk=True)
    interactive = engine.submit([window_of(*[3] * 8)])
    for is_bulk in (False, True):
        with pytest.raises(Overloaded):
            engine.submit([window_of(4)], bulk=is_bulk)
    encoder.open.set()
    assert (interactive.result(10)[0, 0], bulk.result(10)[0, 0]) == (24, 16)
    assert engine.submit([window_of(*[2] * 8)], bulk=True).result(10)[0, 0] == 16


def test_bulk_waits_longer_for_room_than_interactive_work(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_module.BULK_TIMEOUT_S > engine_module.SUBMIT_TIMEOUT_S
    monkeypatch.setattr(engine_module, "SUBMIT_TIMEOUT_S", 0.01)
    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder, queue_tokens=8)
    blocked(encoder, engine)
    engine.submit([window_of(*[2] * 8)], bulk=True)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(lambda: engine.submit([window_of(9)], bulk=True).result(10))
        time.sleep(0.1)
        assert not late.done()
        encoder.open.set()
        assert late.result(10)[0, 0] == 9


def test_windows_that_make_no_batch_are_bisected_like_poison(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    original = WindowBatch.of

    def of(windows: list[Window]) -> WindowBatch:
        if any(POISON in window.ids for window in windows):
            raise MemoryError
        return original(windows)

    encoder = FakeEncoder(WEIGHTS)
    engine = make(encoder)
    blocked(encoder, engine)
    monkeypatch.setattr(WindowBatch, "of", staticmethod(of))
    futures = [engine.submit([window_of(number)]) for number in (2, POISON, 3)]
    encoder.open.set()
    assert isinstance(futures[1].exception(10), ForwardFailed)
    assert [futures[0].result(10)[0, 0], futures[2].result(10)[0, 0]] == [2, 3]
