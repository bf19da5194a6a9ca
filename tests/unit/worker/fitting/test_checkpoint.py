"""An interrupted run goes on where it was, and ends as if nothing had happened."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from tests.unit.fitting_rows import plan, rows
from worker.codebook.format import Codebook, save_codebook
from worker.fitting import adapter, fit
from worker.fitting.adapter import AdapterPlan
from worker.model.hub import resolve_model

PLAN = plan(adapter=AdapterPlan(rank=2, first_layer=2, epochs=2, batch_tokens=512))


class Interrupted(Exception):
    """What a power cut is here."""


class Steps:
    """Counts the adapter's steps, and ends the run at one of them."""

    def __init__(self, last: int | None = None):
        self.last, self.total, self.advances = last, 0, []

    def __call__(self, name: str, total: int) -> Callable[[int], None]:
        if name != "adapter steps":
            return lambda _done: None
        self.total = total
        return self.advance

    def advance(self, done: int) -> None:
        self.advances.append(done)
        if self.last is not None and sum(self.advances) == self.last:
            raise Interrupted


@pytest.fixture(autouse=True)
def _often_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "CHECKPOINT_STEPS", 1)
    monkeypatch.setattr(fit, "MIN_STRATUM", 50)
    monkeypatch.setattr(fit, "GOLDEN_TEXTS", fit.GOLDEN_TEXTS[:4])


def run(model: Path, cache: Path, steps: Steps) -> Codebook:
    return fit.calibrate(resolve_model(str(model)), rows(), PLAN, cache=cache, progress=steps)


def test_resumed_training_gives_the_very_same_codebook(tiny_bert: Path, tmp_path: Path) -> None:
    whole = Steps()
    expected = run(tiny_bert, tmp_path / "whole", whole)
    assert whole.total >= 4
    stopped = whole.total // 2 + 1
    with pytest.raises(Interrupted):
        run(tiny_bert, tmp_path / "cut", Steps(stopped))
    resumed = Steps()
    found = run(tiny_bert, tmp_path / "cut", resumed)
    # The step in which it was interrupted was not saved any more.
    assert resumed.advances == [stopped - 1] + [1] * (whole.total - stopped + 1)
    fingerprints = [save_codebook(book, tmp_path / "book.safetensors") for book in (expected, found)]
    assert fingerprints[0] == fingerprints[1]
    for name, change in expected.adapter.items():
        assert (found.adapter[name].up == change.up).all()
        assert (found.adapter[name].down == change.down).all()


def test_an_interrupted_write_leaves_the_last_state_whole(tiny_bert: Path, tmp_path: Path) -> None:
    def torn(_tensors: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise Interrupted

    with pytest.raises(Interrupted):
        run(tiny_bert, tmp_path / "cache", Steps(3))
    with mock.patch("safetensors.torch.save_file", torn), pytest.raises(Interrupted):
        run(tiny_bert, tmp_path / "cache", Steps())
    resumed = Steps()
    run(tiny_bert, tmp_path / "cache", resumed)
    assert resumed.advances[0] == 2
