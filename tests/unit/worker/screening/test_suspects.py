"""A job whose earlier start came to no end runs alone; the others wait uncounted."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.unit.fakes import FakeAttempts, FakeEncoder, ids_of
from worker.screening.gate import Gate
from worker.screening.jobs import Delivery, JobRunner
from worker.screening.screener import Screener
from worker.topic.attempts import Attempt
from worker.topic.publisher import InMemoryPublisher

TEXT = "the weather in the garden"


def eventually(probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def test_many_are_in_beside_one_another_and_a_suspect_alone(pool: ThreadPoolExecutor) -> None:
    gate, met = Gate(), threading.Barrier(3)
    inside, most = [], []

    def ordinary() -> None:
        with gate.beside():
            met.wait(10)

    def suspect() -> None:
        with gate.alone():
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    futures = [pool.submit(ordinary) for _ in range(3)] + [pool.submit(suspect) for _ in range(3)]
    for future in futures:
        future.result(10)
    assert most == [1, 1, 1]


def test_a_suspect_waits_for_those_inside_and_keeps_out_those_that_come(pool: ThreadPoolExecutor) -> None:
    gate, leave, order = Gate(), threading.Event(), []
    inside = threading.Event()

    def ordinary(name: str, gate_open: threading.Event | None = None) -> None:
        with gate.beside():
            inside.set()
            if gate_open:
                gate_open.wait(10)
            order.append(name)

    def suspect() -> None:
        with gate.alone():
            order.append("suspect")

    first = pool.submit(ordinary, "first", leave)
    assert inside.wait(10)
    waiting = pool.submit(suspect)
    eventually(lambda: gate._suspects == 1)
    last = pool.submit(ordinary, "last")
    leave.set()
    for future in (first, waiting, last):
        future.result(10)
    assert order == ["first", "suspect", "last"]


def test_the_gate_opens_again_after_an_error() -> None:
    gate = Gate()
    for way in (gate.alone, gate.beside):
        with pytest.raises(ZeroDivisionError), way():
            raise ZeroDivisionError
    with gate.alone():
        pass


class ManyAttempts:
    """Attempts of several jobs, of which one has a past."""

    def __init__(self, suspect: str) -> None:
        self.of: dict[str, FakeAttempts] = {suspect: FakeAttempts(already=1)}

    def _of(self, task_id: str) -> FakeAttempts:
        return self.of.setdefault(task_id, FakeAttempts())

    def start(self, task_id: str, *, again: bool = False) -> Attempt:
        return self._of(task_id).start(task_id, again=again)

    def finish(self, task_id: str) -> None:
        self._of(task_id).finish(task_id)

    def refund(self, task_id: str, attempt: Attempt) -> None:
        self._of(task_id).refund(task_id, attempt)


def test_beside_a_suspect_nobody_is_started(screener: Screener, encoder: FakeEncoder, pool: ThreadPoolExecutor) -> None:
    attempts, publisher = ManyAttempts("suspect"), InMemoryPublisher()
    runner = JobRunner(screener, publisher, attempts)

    def run(name: str) -> Any:
        job = {"job_id": name, "items": ids_of([TEXT])}
        return pool.submit(runner.run, job, Delivery(task_id=name, queue="screening", bulk=False))

    encoder.open.clear()
    suspect = run("suspect")
    assert encoder.entered.wait(10)
    neighbours = [run(f"n{n}") for n in range(3)]
    eventually(lambda: len(runner._gate._changed._waiters) == 3)  # type: ignore[attr-defined]
    # A kill now takes the suspect alone: no start of a neighbour is noted.
    assert attempts.of["suspect"].count == 2
    assert set(attempts.of) == {"suspect"}
    encoder.open.set()
    for future in (suspect, *neighbours):
        future.result(10)
    assert len(publisher.results) == 4
    assert attempts.of["suspect"].refused == 1
