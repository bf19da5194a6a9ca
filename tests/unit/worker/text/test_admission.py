"""Which items of a job are screened, and what is said of the others."""

import math
from typing import Any

import pytest

from schemas import limits
from worker.errors import InputError, NotAJob
from worker.text.admission import Admission, admit

MARKER = "Zebrafink"
GOOD = {"id": "good", "text": "Hello there"}

BAD_ITEMS = {
    "empty": ({"id": "bad", "text": ""}, "empty_text"),
    "white space": ({"id": "bad", "text": " \n\t\u3000 "}, "empty_text"),
    "too long": ({"id": "bad", "text": MARKER * 40_000}, "text_too_long"),
    "lone surrogate": ({"id": "bad", "text": f"{MARKER} \ud83d"}, "invalid_unicode"),
    "NUL": ({"id": "bad", "text": f"{MARKER}\x00 x"}, "text_contains_nul"),
    "a million marks": ({"id": "bad", "text": "\u0301" * 1_000_000}, "text_too_long"),
    "text is a number": ({"id": "bad", "text": 42}, "invalid_field"),
    "text is null": ({"id": "bad", "text": None}, "invalid_field"),
    "text is a list": ({"id": "bad", "text": [MARKER]}, "invalid_field"),
    "no text": ({"id": "bad"}, "invalid_field"),
    "no id": ({"text": MARKER}, "invalid_field"),
    "id is a number": ({"id": 7, "text": MARKER}, "invalid_field"),
    "id too long": ({"id": "i" * 257, "text": MARKER}, "invalid_field"),
    "id has a surrogate": ({"id": "\ud83d", "text": MARKER}, "invalid_unicode"),
    "unknown field": ({"id": "bad", "text": MARKER, "txet": MARKER}, "unknown_field"),
    "NaN in metadata": ({"id": "bad", "text": MARKER, "metadata": {"k": math.nan}}, "invalid_field"),
    "infinity in metadata": ({"id": "bad", "text": MARKER, "metadata": {"k": math.inf}}, "invalid_field"),
    "nested metadata": ({"id": "bad", "text": MARKER, "metadata": {"k": {"x": MARKER}}}, "invalid_field"),
    "metadata too large": ({"id": "bad", "text": MARKER, "metadata": {"k": MARKER * 900}}, "invalid_field"),
    "metadata is text": ({"id": "bad", "text": MARKER, "metadata": MARKER}, "invalid_field"),
    "item is text": (MARKER, "invalid_field"),
    "item is null": (None, "invalid_field"),
    "item is a list": ([MARKER], "invalid_field"),
}


def admit_items(*items: Any, **header: Any) -> Admission:
    return admit({"job_id": "job-1", "items": list(items), **header}, {"default"})


def codes(admission: Admission) -> list[tuple[int | None, str]]:
    return [(refused.index, refused.error.code) for refused in admission.refused]


@pytest.mark.parametrize(("item", "code"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_bad_item_gets_its_code_and_its_neighbours_are_admitted(item: Any, code: str) -> None:
    admission = admit_items(GOOD, item, {"id": "other", "text": "Good bye"})
    assert codes(admission) == [(1, code)]
    assert [(a.index, a.item.id) for a in admission.admitted] == [(0, "good"), (2, "other")]


@pytest.mark.parametrize(("item", "code"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_message_never_quotes_the_text(item: Any, code: str) -> None:
    error = admit_items(item).refused[0].error
    assert MARKER not in str(error)
    assert MARKER not in error.info().model_dump_json()


@pytest.mark.parametrize(("item", "code"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_no_exception_behind_the_error_holds_the_text(item: Any, code: str) -> None:
    error = admit_items(item).refused[0].error
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(("item", "code"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_input_errors_are_final(item: Any, code: str) -> None:
    assert admit_items(item).refused[0].error.retryable is False


def test_field_with_text_for_a_name_is_not_shown() -> None:
    error = admit_items({"id": "bad", "text": "t", f"{MARKER} said hello": 1}).refused[0].error
    assert error.code == "unknown_field"
    assert MARKER not in error.message


def test_metadata_key_with_text_in_it_is_not_shown() -> None:
    error = admit_items({"id": "bad", "text": "t", "metadata": {f"{MARKER} said": [1]}}).refused[0].error
    assert MARKER not in error.message


def test_error_names_the_field() -> None:
    assert admit_items({"id": "bad", "text": 42}).refused[0].error.field == "text"


def test_refused_item_keeps_its_readable_id() -> None:
    assert admit_items({"id": "bad", "text": 42}).refused[0].item_id == "bad"


def test_refused_item_without_a_readable_id_has_none() -> None:
    assert admit_items({"id": 42, "text": "t"}).refused[0].item_id is None


def test_order_is_kept() -> None:
    items = [{"id": f"i{n}", "text": "" if n % 3 == 1 else "t"} for n in range(9)]
    admission = admit_items(*items)
    assert [a.index for a in admission.admitted] == [0, 2, 3, 5, 6, 8]
    assert [r.index for r in admission.refused] == [1, 4, 7]


def test_all_items_with_one_id_are_refused() -> None:
    twin = {"id": "twin", "text": "t"}
    admission = admit_items(twin, GOOD, twin)
    assert codes(admission) == [(0, "duplicate_item_id"), (2, "duplicate_item_id")]
    assert [a.item.id for a in admission.admitted] == ["good"]


def test_ids_that_cannot_be_read_are_no_duplicates() -> None:
    assert codes(admit_items({"id": 1, "text": "t"}, {"id": 1, "text": "t"})) == [
        (0, "invalid_field"),
        (1, "invalid_field"),
    ]


def test_unknown_policy_refuses_every_item() -> None:
    admission = admit_items(GOOD, {"id": "b", "text": MARKER}, policy="strictest")
    assert codes(admission) == [(0, "unknown_policy"), (1, "unknown_policy")]
    assert "default" in admission.refused[0].error.message


def test_a_job_may_have_the_most_items() -> None:
    items = [{"id": str(n), "text": "t"} for n in range(limits.MAX_ITEMS_PER_JOB)]
    assert len(admit_items(*items).admitted) == limits.MAX_ITEMS_PER_JOB


@pytest.mark.parametrize(
    ("header", "code"),
    [({}, "too_many_items"), ({"source": "fax"}, "invalid_field"), ({"policy": "x"}, "unknown_policy")],
)
def test_one_item_more_refuses_the_job_as_a_whole(header: dict[str, Any], code: str) -> None:
    items = [{"id": str(n), "text": "t"} for n in range(limits.MAX_ITEMS_PER_JOB + 1)]
    admission = admit_items(*items, **header)
    assert admission.admitted == ()
    [refused] = admission.refused
    assert (refused.index, refused.item_id, refused.error.code) == (None, None, code)


def test_message_about_too_many_items_names_number_and_limit() -> None:
    items = [{"id": str(n), "text": "t"} for n in range(limits.MAX_ITEMS_PER_JOB + 1)]
    message = admit_items(*items).refused[0].error.message
    assert "257" in message
    assert "256" in message


@pytest.mark.parametrize("header", [{}, {"policy": "x"}, {"source": "fax"}], ids=["none", "policy", "source"])
def test_repeated_and_unreadable_ids_are_ambiguous_whatever_the_fault(header: dict[str, Any]) -> None:
    items = [{"id": "twin", "text": "t"}, {"id": "twin", "text": ""}, None, 3, {"id": "bad", "text": ""}]
    refused = admit_items(*items, **header).refused
    assert [(r.index, r.item_id, r.ambiguous) for r in refused] == [
        (0, "twin", True),
        (1, "twin", True),
        (2, None, True),
        (3, None, True),
        (4, "bad", False),
    ]


def test_texts_together_too_large_refuse_every_item() -> None:
    items = [{"id": str(n), "text": "界" * 200_000} for n in range(15)]
    assert {code for _, code in codes(admit_items(*items))} == {"job_too_large"}


def test_ten_megabytes_in_one_text_spoil_the_job_with_a_named_limit() -> None:
    error = admit_items({"id": "bad", "text": "x" * 10_000_000}).refused[0].error
    assert error.code in {"job_too_large", "text_too_long"}
    assert str(limits.MAX_JOB_BYTES) in error.message or str(limits.MAX_ITEM_CHARACTERS) in error.message


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"polciy": "default"}, "unknown_field"),
        ({"source": MARKER}, "invalid_field"),
        ({"tenant": f"{MARKER} {MARKER}"}, "invalid_field"),
        ({"schema_version": 9}, "unsupported_version"),
        ({"metadata": {"k": math.inf}}, "invalid_field"),
        ({"policy": 3}, "invalid_field"),
    ],
)
def test_faulty_job_field_is_answered_item_by_item(header: dict[str, Any], code: str) -> None:
    admission = admit_items(GOOD, {"id": "b", "text": "t"}, **header)
    assert codes(admission) == [(0, code), (1, code)]
    assert admission.header.job_id == "job-1"
    assert MARKER not in admission.refused[0].error.message


@pytest.mark.parametrize(
    "raw",
    [
        None,
        MARKER,
        3,
        [GOOD],
        {},
        {"job_id": "j"},
        {"job_id": "j", "items": []},
        {"job_id": "j", "items": MARKER},
        {"job_id": "j", "items": {"0": GOOD}},
        {"items": [GOOD]},
        {"job_id": None, "items": [GOOD]},
        {"job_id": "two words", "items": [GOOD]},
        {"job_id": "\ud83d", "items": [GOOD]},
        {"job_id": [MARKER], "items": [GOOD]},
    ],
)
def test_what_is_no_job_is_said_so(raw: object) -> None:
    with pytest.raises(NotAJob) as caught:
        admit(raw, {"default"})
    assert MARKER not in caught.value.message


def test_good_job_is_admitted_whole() -> None:
    admission = admit_items({**GOOD, "metadata": {"part": 1}}, tenant="acme", source="web", metadata={"k": "v"})
    assert admission.refused == ()
    assert admission.header.tenant == "acme"
    assert admission.admitted[0].item.metadata == {"part": 1}


def test_every_refusal_is_an_input_error() -> None:
    errors = [admit_items(item).refused[0].error for item, _ in BAD_ITEMS.values()]
    assert all(isinstance(error, InputError) for error in errors)
