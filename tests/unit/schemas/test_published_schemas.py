"""The published JSON Schemas: other languages program against them, so a change must be seen."""

import json

import jsonschema
import pytest

from schemas.export import PUBLISHED, json_schema
from tests.unit.schemas.regenerate import GOLDEN, rendered

JOB = {
    "job_id": "job-1",
    "source": "email",
    "tenant": "acme",
    "metadata": {"turn": 3, "ratio": 0.5, "last": True, "thread": None},
    "items": [{"id": "mail", "text": "Hello", "metadata": {"part": "body"}}],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_schema_equals_its_golden_file(name: str) -> None:
    golden = (GOLDEN / f"{name}.schema.json").read_text(encoding="utf-8")
    assert rendered(name) == golden, "regenerate with: python -m tests.unit.schemas.regenerate"


def test_every_golden_file_is_published() -> None:
    assert {path.name.removesuffix(".schema.json") for path in GOLDEN.iterdir()} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_schema_is_valid_json_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(name))


def test_schema_accepts_a_job() -> None:
    jsonschema.validate(JOB, json_schema("job"))


def test_schema_refuses_what_the_worker_refuses() -> None:
    misspelt = {**JOB, "itmes": []}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(misspelt, json_schema("job"))


def test_unknown_schema_is_an_error() -> None:
    with pytest.raises(KeyError):
        json_schema("jobs")


def test_result_schema_accepts_a_published_event() -> None:
    from schemas import ItemResult, ResultEvent

    result = ItemResult(result_id="r", job_id="j", item_id="i", item_index=0, status="screened", verdict="clean")
    event = ResultEvent(id="r", subject="j", data=result)
    jsonschema.validate(json.loads(event.model_dump_json()), json_schema("result-event"))
