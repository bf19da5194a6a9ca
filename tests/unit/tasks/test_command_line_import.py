"""The command line answers at once: what only some commands need is loaded by them."""

import subprocess
import sys

import pytest

FORBIDDEN = ("torch", "transformers", "celery", "kombu", "redis", "numpy", "onnxruntime", "pydantic", "schemas")


@pytest.fixture(scope="module")
def loaded_modules() -> set[str]:
    code = "import sys, tasks.cli.main; print(' '.join(m.partition('.')[0] for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_typer_is_loaded(loaded_modules: set[str]) -> None:
    assert {"tasks", "worker", "typer"} <= loaded_modules


@pytest.mark.parametrize("module", FORBIDDEN)
def test_heavy_module_is_not_loaded(module: str, loaded_modules: set[str]) -> None:
    assert module not in loaded_modules
