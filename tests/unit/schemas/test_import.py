"""``import schemas`` is for producers: it must cost them pydantic and nothing else."""

import subprocess
import sys

import pytest

FORBIDDEN = ("torch", "transformers", "celery", "kombu", "redis", "numpy", "onnxruntime", "worker", "tasks")


@pytest.fixture(scope="module")
def loaded_modules() -> set[str]:
    code = "import sys, schemas, schemas.export; print(' '.join(m.partition('.')[0] for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_pydantic_is_loaded(loaded_modules: set[str]) -> None:
    assert {"schemas", "pydantic"} <= loaded_modules


@pytest.mark.parametrize("module", FORBIDDEN)
def test_heavy_module_is_not_loaded(module: str, loaded_modules: set[str]) -> None:
    assert module not in loaded_modules
