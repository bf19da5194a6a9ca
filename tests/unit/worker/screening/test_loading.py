"""A worker starts only with a codebook and a model that belong together, and proves it."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.codebook.format import Codebook, load_codebook, save_codebook
from worker.errors import CodebookMismatch, CodebookNotFound, GoldenDrift
from worker.screening.assets import load_codebook_and_model, make_tokenizer, make_torch_encoder
from worker.screening.drift import check_golden
from worker.screening.loading import load_screener
from worker.screening.screener import Finding, Screener
from worker.settings import Settings, load_settings

Load = Callable[..., Screener]


@pytest.fixture
def load(tiny_bert: Path, fitted: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    started: list[Screener] = []

    def start(**changes: Any) -> Screener:
        settings: Settings = load_settings(
            **{
                "model": str(tiny_bert),
                "codebook": fitted,
                "threads": 1,
                "offline": True,
                "dtype": "float32",
                **changes,
            }
        )
        started.append(load_screener(settings))
        return started[-1]

    yield start
    for screener in started:
        screener.engine.stop()


@pytest.fixture
def changed(fitted: Path, tmp_path: Path) -> Callable[..., Path]:
    """Save the fitted codebook again after a change."""

    def change(edit: Callable[[Codebook], Codebook]) -> Path:
        path = tmp_path / "changed.safetensors"
        save_codebook(edit(load_codebook(fitted)), path)
        return path

    return change


def test_pair_that_belongs_together_screens(load: Load) -> None:
    screener = load()
    assert screener.policies == {"default"}
    [short, long] = screener.screen(["the garden", "water music " * 40])
    assert isinstance(short, Finding)
    assert isinstance(long, Finding)
    assert long.windows > short.windows


def test_golden_scores_are_reproduced(tiny_bert: Path, fitted: Path) -> None:
    settings = load_settings(model=str(tiny_bert), codebook=fitted, threads=1, offline=True)
    codebook, files = load_codebook_and_model(settings)
    encoder = make_torch_encoder(codebook, files, settings, "float32")
    assert check_golden(codebook, make_tokenizer(codebook, files), encoder).logit < 1e-3


@pytest.mark.parametrize("shift", [0.06, -1.0, 1e29])
def test_other_golden_scores_refuse_to_serve(load: Load, changed: Callable[..., Path], shift: float) -> None:
    def edit(book: Codebook) -> Codebook:
        scores = book.golden_scores.copy()
        scores[3, 2] += np.float32(shift)
        return replace(book, golden_scores=scores)

    with pytest.raises(GoldenDrift, match="do not belong together"):
        load(codebook=changed(edit))


def test_other_weights_are_refused(load: Load, tiny_llama: Path) -> None:
    with pytest.raises(CodebookMismatch, match="FIREWALL_MODEL and FIREWALL_CODEBOOK"):
        load(model=str(tiny_llama))


def test_other_tokenizer_is_refused(load: Load, tiny_bert: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_bert, model)
    path = model / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    with pytest.raises(CodebookMismatch, match=r"tokenizer\.json differs"):
        load(model=str(model))


def test_model_without_a_codebook_says_how_to_fit_one(load: Load) -> None:
    with pytest.raises(CodebookNotFound, match="alknet-firewall calibrate --model HuggingFaceTB/SmolLM2-135M"):
        load(model="HuggingFaceTB/SmolLM2-135M", codebook=None)


def test_ready_line_names_model_and_codebook(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    screener = load()
    assert screener.codebook.fingerprint in caplog.text
    assert "torch-float32" in caplog.text


@pytest.mark.timeout(60)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shipped_codebook_passes_its_golden_test_with_the_embedded_model(dtype: str) -> None:
    settings = load_settings(offline=True, threads=1)
    codebook, files = load_codebook_and_model(settings)
    encoder = make_torch_encoder(codebook, files, settings, dtype)
    check_golden(codebook, make_tokenizer(codebook, files), encoder)
