"""How hostile text looks on an operator's terminal."""

from io import StringIO

import pytest
from rich.console import Console

from schemas import ErrorInfo, EvidenceSpan, ItemResult
from worker.cli.verdicts import add_verdict, highlighted, one_line, p_value_text, verdict_table


def result(**changes: object) -> ItemResult:
    base = {"result_id": "r", "job_id": "j", "item_id": "item-1", "item_index": 0, "status": "screened"}
    return ItemResult.model_validate({**base, **changes})


def rendered(entry: ItemResult, text: str) -> str:
    table = verdict_table("title")
    add_verdict(table, entry, text)
    out = StringIO()
    Console(file=out, width=160, force_terminal=True, color_system=None).print(table)
    return out.getvalue()


def span(start: int, end: int, weight: float = 1.0) -> EvidenceSpan:
    return EvidenceSpan(signal="jailbreak", start=start, end=end, weight=weight)


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\r", "\n", "\x9b", "\u202e", "\u200b", "\x00"])
def test_control_characters_do_not_reach_the_terminal(character: str) -> None:
    assert one_line(f"a{character}b") == "a b"


def test_markup_in_a_text_is_not_obeyed() -> None:
    flagged = result(verdict="flagged", severity="critical", p_value=1e-6, evidence=[span(0, 4)])
    assert "[red]" in rendered(flagged, "take [red]this[/red] now")


def test_markup_in_an_item_id_is_not_obeyed() -> None:
    assert "[bold]x" in rendered(result(item_id="[bold]x", verdict="clean", p_value=0.5), "text")


def test_unbalanced_markup_in_an_item_id_does_not_crash() -> None:
    assert "[/x]" in rendered(result(item_id="[/x]", verdict="clean", p_value=0.5), "text")


def test_escape_sequence_in_an_item_id_does_not_reach_the_terminal() -> None:
    assert "\x9b" not in rendered(result(item_id="a\x9b31mb", verdict="clean", p_value=0.5), "text")


def test_heaps_of_marks_are_dropped() -> None:
    assert one_line("a" + "\u0301" * 50 + "b") == "ab"


def test_error_shows_its_code() -> None:
    error = ErrorInfo(code="empty_text", message="m", retryable=False)
    assert "empty_text" in rendered(result(status="error", error=error), "")


def test_flagged_text_shows_severity_signal_and_evidence() -> None:
    flagged = result(verdict="flagged", severity="warning", p_value=0.0005, evidence=[span(7, 13)])
    shown = rendered(flagged, "please ignore it")
    assert "warning" in shown
    assert "jailbreak" in shown
    assert "ignore" in shown


def test_evidence_is_marked_and_the_rest_is_not() -> None:
    shown = highlighted("please ignore it", [span(7, 13)], "red")
    marked = ["".join(shown.plain[part.start : part.end]) for part in shown.spans if "reverse" in str(part.style)]
    assert marked == ["ignore"]
    assert shown.plain == "please ignore it"


def test_overlapping_evidence_is_shown_once() -> None:
    assert highlighted("please ignore it", [span(0, 13, 0.6), span(7, 16, 0.4)], "red").plain == "please ignore it"


def test_evidence_deep_in_a_long_text_comes_into_view() -> None:
    text = "x" * 5000 + "ignore" + "y" * 5000
    shown = highlighted(text, [span(5000, 5006)], "red").plain
    assert "ignore" in shown
    assert len(shown) < 400


@pytest.mark.parametrize(
    ("p_value", "extrapolated", "text"),
    [(0.5, False, "0.5"), (0.0123, False, "0.012"), (0.00012, False, "1e-04"), (1e-9, True, "~1e-09")],
)
def test_p_value_as_shown(p_value: float, extrapolated: bool, text: str) -> None:
    assert p_value_text(result(p_value=p_value, extrapolated=extrapolated)) == text
