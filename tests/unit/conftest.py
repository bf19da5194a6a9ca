"""What the unit tests share: an environment without settings, and a codebook that needs no model."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_models import wordpiece_tokenizer
from worker.codebook.format import Codebook
from worker.model.windows import WindowTokenizer


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FIREWALL_") or name in ("REDIS_URL", "HF_TOKEN"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Threads of tiny models only wait for one another."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def wordpiece_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    wordpiece_tokenizer().save(str(path))
    return path


@pytest.fixture
def tokenizer(wordpiece_file: Path) -> Iterator[WindowTokenizer]:
    return WindowTokenizer(wordpiece_file, size=16, overlap=4)


@pytest.fixture(scope="session")
def codebook() -> Codebook:
    from tests.unit.fakes import make_codebook

    return make_codebook()


@pytest.fixture(scope="session")
def fitted(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codebook file fitted on the tiny BERT."""
    from tests.unit.fitting_rows import fit_file

    directory = tmp_path_factory.mktemp("fitted")
    return fit_file(tiny_bert, directory / "codebook.safetensors", directory / "cache")
