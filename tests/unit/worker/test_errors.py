"""The error tree: stable codes that go over the wire."""

import inspect

import pytest

from schemas import ErrorInfo
from worker import errors

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.FirewallError)]

CODES = {
    "AttemptsExhausted": "attempts_exhausted",
    "DuplicateItemId": "duplicate_item_id",
    "EmptyText": "empty_text",
    "ForwardFailed": "forward_failed",
    "InvalidField": "invalid_field",
    "InvalidUnicode": "invalid_unicode",
    "JobTooLarge": "job_too_large",
    "NoTokens": "no_tokens",
    "NotAJob": "not_a_job",
    "PolicyNotAllowed": "policy_not_allowed",
    "QuotaExceeded": "quota_exceeded",
    "RateLimited": "rate_limited",
    "TextContainsNul": "text_contains_nul",
    "TextTooLong": "text_too_long",
    "TooManyItems": "too_many_items",
    "UnknownField": "unknown_field",
    "UnknownPolicy": "unknown_policy",
    "UnsupportedVersion": "unsupported_version",
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_codes_of_error_results_are_fixed(name: str, code: str) -> None:
    assert getattr(errors, name).code == code


def test_codes_are_distinct() -> None:
    assert len({kind.code for kind in ALL}) == len(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_fits_the_wire(kind: type[errors.FirewallError]) -> None:
    info = kind("what was wrong", field="text").info()
    assert info == ErrorInfo(code=kind.code, message="what was wrong", retryable=kind.retryable, field="text")


@pytest.mark.parametrize("kind", ALL)
def test_every_error_is_explained_and_in_the_drawn_tree(kind: type[errors.FirewallError]) -> None:
    assert kind.__doc__
    assert kind.__name__ in (errors.__doc__ or "")


def test_what_may_succeed_later() -> None:
    retryable = {kind.__name__ for kind in ALL if kind.retryable}
    assert retryable == {
        "EngineStopped",
        "Expired",
        "NoVerdict",
        "Overloaded",
        "QuotaExceeded",
        "RateLimited",
        "ServiceError",
        "TopicError",
    }
