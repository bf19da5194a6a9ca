"""What must be cheap to import is: the wire contract for producers, the command line for whoever types it."""

import subprocess
import sys
from functools import cache

import pytest

HEAVY = ("torch", "transformers", "celery", "kombu", "redis", "numpy", "onnxruntime")
NEEDED = {"schemas, schemas.export": {"schemas", "pydantic"}, "tasks.cli.main": {"tasks", "worker", "typer"}}
FORBIDDEN = {
    "schemas, schemas.export": (*HEAVY, "worker", "tasks"),
    "tasks.cli.main": (*HEAVY, "pydantic", "schemas"),  # what only some commands need is loaded by them
}


@cache
def loaded_by(modules: str) -> frozenset[str]:
    """Return the top-level modules that a new interpreter has after importing these."""
    code = f"import sys, {modules}; print(' '.join(m.partition('.')[0] for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return frozenset(run.stdout.split())


@pytest.mark.parametrize("modules", NEEDED)
def test_what_is_needed_is_loaded(modules: str) -> None:
    assert NEEDED[modules] <= loaded_by(modules)


@pytest.mark.parametrize(("modules", "heavy"), [(m, heavy) for m, found in FORBIDDEN.items() for heavy in found])
def test_a_heavy_module_is_not_loaded(modules: str, heavy: str) -> None:
    assert heavy not in loaded_by(modules)
