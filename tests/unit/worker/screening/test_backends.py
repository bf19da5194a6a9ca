"""The fastest backend that proves itself serves; the log says which and why."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.unit.fakes import FakeEncoder, make_codebook
from worker.codebook.format import Codebook
from worker.errors import GoldenDrift, MissingExtra, ModelNotFound, SettingsError
from worker.model.encoder import FloatArray, WindowBatch
from worker.model.windows import WindowTokenizer
from worker.screening import backends
from worker.screening.backends import Backend, candidates, choose_backend
from worker.screening.drift import Drift
from worker.settings import Settings, load_settings


class Clock:
    """Stands in for the module ``time``: only an encoder's passes take any."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Timed(FakeEncoder):
    """An encoder with a speed."""

    def __init__(self, name: str, seconds: float, clock: Clock):
        super().__init__()
        self.name, self.seconds, self.clock = name, seconds, clock

    def score(self, batch: WindowBatch) -> FloatArray:
        self.clock.now += self.seconds
        return np.zeros((len(batch.ids), self.n_signals), dtype=np.float32)


@dataclass
class Shelf:
    """What is installed, and which of it fails the golden test."""

    tokenizer: WindowTokenizer
    clock: Clock = field(default_factory=Clock)
    book: Codebook = field(default_factory=make_codebook)
    loads: list[tuple[str, Callable[[], Backend]]] = field(default_factory=list)
    wrong: set[str] = field(default_factory=set)
    proved: list[str] = field(default_factory=list)

    def add(self, name: str, seconds: float, tuned: str | None = None) -> None:
        def load(name: str, tune: Callable[[], Backend] | None = None) -> Backend:
            return Backend(Timed(name, seconds, self.clock), self.book, self.tokenizer, "model", tune)

        self.loads.append((name, partial(load, name, partial(load, tuned) if tuned else None)))

    def fail(self, name: str, error: Exception) -> None:
        def load() -> Backend:
            raise error

        self.loads.append((name, load))

    def check(self, codebook: Codebook, tokenizer: WindowTokenizer, encoder: FakeEncoder) -> Drift:
        self.proved.append(encoder.name)
        if encoder.name in self.wrong:
            raise GoldenDrift("not the same")
        return Drift(2, 0.01, 1.02, 1.01, 0.0, {})


@pytest.fixture
def shelf(tokenizer: WindowTokenizer, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf(tokenizer)
    monkeypatch.setattr(backends, "candidates", lambda _: made.loads)
    monkeypatch.setattr(backends, "check_golden", made.check)
    monkeypatch.setattr(backends, "time", made.clock)
    return made


@pytest.fixture
def settings() -> Settings:
    return load_settings()


def test_the_fastest_serves_and_the_log_says_why(
    shelf: Shelf, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shelf.add("torch-float32", 0.02)
    shelf.add("torch-bfloat16", 0.002)
    shelf.add("onnx-float32", 0.01)
    assert choose_backend(settings).encoder.name == "torch-bfloat16"
    assert shelf.proved == ["torch-bfloat16"]
    [line] = caplog.messages
    assert line.startswith("backend torch-bfloat16 (tokens/s at start: torch-float32 ")
    assert "onnx-float32 " in line
    assert "factor of 1.02" in line


def test_the_calibrated_arithmetic_serves_unless_another_is_clearly_faster(shelf: Shelf, settings: Settings) -> None:
    shelf.add("torch-float32", 0.030)
    shelf.add("torch-bfloat16", 0.029)
    assert choose_backend(settings).encoder.name == "torch-float32"


def test_one_that_was_only_loaded_for_comparison_is_tuned_before_it_is_proved_and_serves(
    shelf: Shelf, settings: Settings
) -> None:
    shelf.add("torch-float32", 0.02, tuned="torch-float32 tuned")
    shelf.add("torch-bfloat16", 0.002)
    shelf.wrong.add("torch-bfloat16")
    assert choose_backend(settings).encoder.name == "torch-float32 tuned"
    assert shelf.proved == ["torch-bfloat16", "torch-float32 tuned"]


def test_a_fast_one_that_fails_the_golden_test_does_not_serve(
    shelf: Shelf, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.add("torch-float32", 0.02)
    shelf.add("torch-bfloat16", 0.002)
    shelf.wrong.add("torch-bfloat16")
    assert choose_backend(settings).encoder.name == "torch-float32"
    assert "backend torch-bfloat16 is not used: golden_drift: not the same" in caplog.messages


def test_one_that_does_not_load_leaves_the_others(
    shelf: Shelf, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.fail("torch-float32", ModelNotFound("nowhere"))
    shelf.add("onnx-float32", 0.0)
    assert choose_backend(settings).encoder.name == "onnx-float32"
    assert "backend torch-float32 is not used: model_not_found: nowhere" in caplog.messages


def test_a_single_one_is_not_measured(shelf: Shelf, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    shelf.add("torch-float32", 0.0)
    choose_backend(settings)
    assert "backend torch-float32 (no other)" in caplog.text


def test_if_none_serves_the_first_ones_reason_is_given(shelf: Shelf, settings: Settings) -> None:
    shelf.fail("torch-float32", MissingExtra("torch is not installed"))
    shelf.fail("onnx", ModelNotFound("no export"))
    with pytest.raises(MissingExtra, match="torch is not installed"):
        choose_backend(settings)


def test_if_all_fail_the_golden_test_nothing_serves(shelf: Shelf, settings: Settings) -> None:
    shelf.add("torch-float32", 0.0)
    shelf.wrong.add("torch-float32")
    with pytest.raises(GoldenDrift):
        choose_backend(settings)


@pytest.mark.parametrize(
    ("chosen", "bfloat16", "expected"),
    [
        ({}, True, ["torch-float32", "torch-bfloat16"]),
        ({}, False, ["torch-float32"]),
        ({"dtype": "bfloat16"}, False, ["torch-bfloat16"]),
        ({"dtype": "float32"}, True, ["torch-float32"]),
        ({"backend": "torch"}, True, ["torch-float32", "torch-bfloat16"]),
        ({"export": Path("x")}, True, ["torch-float32", "torch-bfloat16", "onnx"]),
        ({"export": Path("x"), "dtype": "int8"}, True, ["onnx"]),
        ({"export": Path("x"), "backend": "torch"}, True, ["torch-float32", "torch-bfloat16"]),
        ({"export": Path("x"), "backend": "onnx"}, True, ["onnx"]),
    ],
)
def test_candidates(
    chosen: dict[str, object], bfloat16: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "has_bfloat16", lambda _: bfloat16)
    assert [name for name, _ in candidates(load_settings(**chosen))] == expected


def test_without_torch_an_export_is_the_only_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    assert [name for name, _ in candidates(load_settings(export=Path("x")))] == ["onnx"]
    assert [name for name, _ in candidates(load_settings())] == ["torch-float32"]  # whose error says what to install


@pytest.mark.parametrize("chosen", [{"dtype": "int8"}, {"dtype": "int8", "backend": "torch", "export": Path("x")}])
def test_settings_that_allow_nothing_are_refused(chosen: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="FIREWALL_EXPORT"):
        candidates(load_settings(**chosen))


def test_onnx_without_an_export_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match="FIREWALL_EXPORT"):
        choose_backend(load_settings(backend="onnx"))
