"""The cost section of the quality report says what was measured."""

from pathlib import Path

import pytest

from tests.unit.fakes import FakeEncoder, make_codebook
from worker.codebook.format import load_codebook, save_codebook
from worker.fitting import cost
from worker.fitting.cost import Cost, measure_cost, render
from worker.model.windows import WindowTokenizer


def test_medians_of_load_forward_and_scoring(
    tmp_path: Path, tokenizer: WindowTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "codebook"
    save_codebook(make_codebook(), path)
    medians = iter([8.0, 2.0, 0.5])  # forward, scoring, load
    runs = []

    def seconds(run: object) -> float:
        assert callable(run)
        runs.append(run())
        return next(medians)

    monkeypatch.setattr(cost, "_seconds", seconds)
    found = measure_cost(path, load_codebook(path), tokenizer, FakeEncoder(), ["the garden", "a gate"])
    assert found == Cost(path.stat().st_size, 0.5, 0.25)
    assert len(runs) == 3


def test_report_is_in_the_units_of_the_targets() -> None:
    assert "2.45 MB, loaded in 40 ms" in render(Cost(2_450_000, 0.0401, 0.012))[2]
    assert "1.20% of the forward" in render(Cost(2_450_000, 0.0401, 0.012))[2]
