"""A producer's machine has pydantic and nothing else of what the worker needs."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

ALLOWED = ("schemas", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection", "annotated_types")
"""pydantic's own requirements; the standard library is allowed as well."""

PREAMBLE = f"""
import sys

class OnlyPydantic:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        standard = top in sys.stdlib_module_names or top.startswith("_sysconfigdata")
        if not standard and top not in {ALLOWED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, OnlyPydantic())
sys.path.insert(0, {str(ROOT)!r})
"""


def run_bare(code: str) -> "subprocess.CompletedProcess[str]":
    """Run code where only the standard library, pydantic and our contract can be imported."""
    command = [sys.executable, "-I", "-c", PREAMBLE + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_bare_environment_is_bare() -> None:
    for name in ("torch", "celery", "redis", "numpy", "transformers", "kombu", "worker"):
        done = run_bare(f"import {name}")
        assert done.returncode != 0
        assert "ModuleNotFoundError" in done.stderr


def test_the_contract_is_imported_with_pydantic_alone() -> None:
    done = run_bare("import schemas; print(len(schemas.__all__))")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_a_job_is_checked_and_an_event_read_with_pydantic_alone() -> None:
    event = {
        "specversion": "1.0",
        "id": "r",
        "source": "/alknet-firewall",
        "type": "alknet.firewall.result.v1",
        "time": "2026-11-22T00:00:00Z",
        "datacontenttype": "application/json",
        "data": {"result_id": "r", "job_id": "j", "item_id": "a", "item_index": 0, "status": "screened",
                 "verdict": "clean"},
    }  # fmt: skip
    done = run_bare(
        "from schemas import Job, ResultEvent\n"
        "job = Job.model_validate({'job_id': 'j', 'items': [{'id': 'a', 'text': 'hello'}]})\n"
        f"event = ResultEvent.model_validate_json({json.dumps(event)!r})\n"
        "print(job.items[0].id, event.data.verdict)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["a", "clean"]


def test_the_published_schemas_are_printed_with_pydantic_alone() -> None:
    done = run_bare("import json; from schemas.export import *; print(json.dumps(json_schema('job')))")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["properties"]["items"]["maxItems"] == 256
