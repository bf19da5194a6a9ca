"""Parts of a batch on several threads give what the whole gives, in order."""

import threading

import numpy as np
import pytest

from worker.model.encoder import FloatArray, WindowBatch
from worker.model.parallel_encoder import ParallelEncoder


class Recorder:
    """Scores a window by its first id, and remembers which thread ran how many windows."""

    name = "recorder"

    def __init__(self) -> None:
        self.ran: list[tuple[str, int]] = []
        self.barrier: threading.Barrier | None = None

    def score(self, batch: WindowBatch) -> FloatArray:
        if self.barrier is not None:
            self.barrier.wait(10)
        self.ran.append((threading.current_thread().name, len(batch.ids)))
        return batch.ids[:, :1].astype(np.float32)

    def attribute(self, batch: WindowBatch) -> FloatArray:
        return batch.ids[:, :, None].astype(np.float32)


def batch_of(windows: int) -> WindowBatch:
    ids = np.arange(windows * 4, dtype=np.int64).reshape(windows, 4)
    return WindowBatch(ids, np.ones(ids.shape, dtype=np.bool_))


@pytest.mark.parametrize("windows", [1, 2, 3, 4, 7, 64])
def test_scores_and_shares_are_those_of_the_whole(windows: int) -> None:
    inner, batch = Recorder(), batch_of(windows)
    outer = ParallelEncoder(inner, 3)
    np.testing.assert_array_equal(outer.score(batch), inner.score(batch))
    np.testing.assert_array_equal(outer.attribute(batch), inner.attribute(batch))
    assert outer.name == inner.name


def test_parts_run_at_the_same_time_with_one_thread_each() -> None:
    inner = Recorder()
    inner.barrier = threading.Barrier(3)  # passed only by three threads that wait together
    set_by: list[tuple[str, int]] = []
    outer = ParallelEncoder(inner, 3, lambda n: set_by.append((threading.current_thread().name, n)))
    outer.score(batch_of(8))
    assert sorted(count for _, count in inner.ran) == [2, 3, 3]
    assert {name for name, _ in set_by} == {name for name, _ in inner.ran}
    assert {threads for _, threads in set_by} == {1}


def test_few_windows_run_whole_with_all_threads_and_in_one_place_whoever_asks() -> None:
    inner = Recorder()
    threads: list[int] = []
    outer = ParallelEncoder(inner, 3, threads.append)
    outer.score(batch_of(2))
    other = threading.Thread(target=outer.score, args=(batch_of(1),))
    other.start()
    other.join()
    assert [count for _, count in inner.ran] == [2, 1]
    assert len({name for name, _ in inner.ran}) == 1
    assert threads == [3, 3]


def test_a_fault_in_one_part_is_raised() -> None:
    class Faulty(Recorder):
        def score(self, batch: WindowBatch) -> FloatArray:
            if batch.ids[0, 0] == 0:
                raise FloatingPointError("first part")
            return super().score(batch)

    with pytest.raises(FloatingPointError, match="first part"):
        ParallelEncoder(Faulty(), 2).score(batch_of(4))
