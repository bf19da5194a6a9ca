"""Write the golden JSON Schemas anew: ``python -m tests.unit.schemas.regenerate``. Then read the diff."""

import json
from pathlib import Path

from schemas.asyncapi import asyncapi
from schemas.export import PUBLISHED, json_schema

GOLDEN = Path(__file__).parent / "golden"
ASYNCAPI = Path(__file__).parents[3] / "docs/asyncapi.json"


def rendered(name: str) -> str:
    """Return a published schema as its golden file has it."""
    return json.dumps(json_schema(name), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    ASYNCAPI.write_text(json.dumps(asyncapi(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for published in PUBLISHED:
        (GOLDEN / f"{published}.schema.json").write_text(rendered(published), encoding="utf-8")
