"""Screening labelled rows offline."""

import math
from collections.abc import Sequence
from typing import Any

from worker.errors import FirewallError, NoTokens
from worker.fitting.dataset import LabelledText
from worker.fitting.evaluate import as_record, evaluate, screen_rows
from worker.screening.policy import Policy
from worker.screening.screener import Finding


def finding(p_value: float = 0.5, severity: Any = None) -> Finding:
    return Finding(
        statistic=-math.log10(p_value),
        p_value=p_value,
        extrapolated=False,
        severity=severity,
        leading="jailbreak",
        signals=[],
        evidence=[],
        tokens=3,
        windows=1,
        policy=Policy(),
    )


def row(name: str, text: str = "text", label: int | None = 0, signal: str = "benign") -> LabelledText:
    return LabelledText(name, text, label, signal, "own")


class FakeScreener:
    """Answers a finding whose statistic is the text's length."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def screen(self, texts: Sequence[str], *, bulk: bool = False) -> list[Finding | FirewallError]:
        self.asked += texts
        return [NoTokens("none") if text == "?" else finding(10.0 ** -len(text)) for text in texts]


def test_rows_keep_their_order_around_empty_and_failed_ones() -> None:
    rows = [row("a", "x"), row("b", "  "), row("c", "?"), row("d", "xxx"), row("e", "")]
    advanced: list[int] = []
    screener = FakeScreener()
    outcomes = list(screen_rows(screener, rows, advanced.append))  # type: ignore[arg-type]
    assert [entry.id for entry, _ in outcomes] == ["a", "b", "c", "d", "e"]
    shown = [found.code if isinstance(found, FirewallError) else round(found.statistic) for _, found in outcomes]
    assert shown == [1, "empty_text", "no_tokens", 3, "empty_text"]
    assert screener.asked == ["x", "?", "xxx"]
    assert sum(advanced) == 5


def test_only_empty_rows_screen_nothing() -> None:
    screener = FakeScreener()
    assert len(list(screen_rows(screener, [row("a", " ")], lambda _: None))) == 1  # type: ignore[arg-type]
    assert screener.asked == []


def test_record_of_a_finding() -> None:
    record = as_record(row("a"), finding(0.0001, "warning"))
    assert (record["id"], record["alarm"], record["severity"], record["p_value"]) == ("a", True, "warning", 0.0001)


def test_record_of_an_error() -> None:
    assert as_record(row("a"), NoTokens("none"))["error"]["code"] == "no_tokens"


def test_measures_count_what_they_should() -> None:
    outcomes = [
        (row("a"), finding(0.9)),
        (row("b"), NoTokens("none")),
        (row("c", label=1, signal="jailbreak"), finding(0.0001)),
        (row("d", label=1, signal="harmful_request"), finding(0.8)),
        (row("e", label=None), finding(0.8)),
    ]
    measured = evaluate(outcomes, left_out=frozenset({"harmful_request"}))
    assert (measured["rows"], measured["benign"], measured["attack"]) == (2, 1, 1)
    assert (measured["errors"], measured["left_out"]) == (1, 2)
    assert measured["auc"] == 1.0


def test_rows_are_grouped_by_length() -> None:
    outcomes = [(row("a", "x" * 99), finding()), (row("b", "x" * 100), finding()), (row("c", "x" * 9999), finding())]
    assert set(evaluate(outcomes)["by_length"]) == {"under 100 characters", "100 to 999", "5,000 and more"}
