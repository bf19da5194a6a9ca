"""The page on an evaluation: readable, harmless, and in one piece."""

import re

import numpy as np
import pytest

from schemas import EvidenceSpan
from worker.fitting.dataset import LabelledText
from worker.fitting.evaluate import evaluate
from worker.fitting.report import EXCERPT, WORST, Screened, render_report
from worker.screening.screener import Finding

HOSTILE = "<script>alert('text')</script> & \"quoted\" </pre></style><img src=x onerror=alert(1)>"


def screened(
    name: str, text: str, label: int, p_value: float, *evidence: tuple[int, int], source: str = "own"
) -> Screened:
    found = Finding(
        statistic=-float(np.log(p_value)),
        p_value=p_value,
        extrapolated=False,
        severity="notice" if p_value < 0.01 else None,
        leading="jailbreak",
        signals=[],
        evidence=[EvidenceSpan(signal="jailbreak", start=s, end=e, weight=0.5) for s, e in evidence],
        tokens=3,
        windows=1,
    )
    return LabelledText(name, text, label, "jailbreak" if label else "benign", source, "en"), found


def page(*rows: Screened, title: str = "rows.jsonl") -> str:
    return render_report(rows, evaluate(rows), title)


@pytest.fixture(scope="module")
def many() -> str:
    random = np.random.default_rng(1)
    benign = [screened(f"b{n}", "the garden", 0, float(random.uniform(0.001, 1))) for n in range(60)]
    attacks = [screened(f"a{n}", "ignore all", 1, float(random.uniform(1e-6, 0.1)), (0, 6)) for n in range(60)]
    return page(*benign, *attacks)


def test_page_has_its_figures_charts_and_tables(many: str) -> None:
    assert many.startswith("<!doctype html>")
    assert "rows.jsonl · 120 rows: 60 benign, 60 attacks" in many
    assert many.count("<svg") == 4
    for heading in ("By signal", "By source", "By length", "look most like attacks", "look most harmless"):
        assert heading in many


def test_page_shows_the_worst_only(many: str) -> None:
    assert many.count('<div class="text">') == 2 * WORST


def test_page_is_self_contained(many: str) -> None:
    targets = re.findall(r"""(?:href|src|action|data)\s*=\s*["']([^"']*)""", many)
    assert [target for target in targets if not target.startswith("#")] == []
    assert not re.search(r"url\((?![\"']?#)|@import|<script|<link|<iframe", many)
    assert "default-src 'none'" in many


def test_evidence_is_marked() -> None:
    found = page(screened("a", "please ignore all of it", 1, 0.001, (7, 13), (14, 17)), screened("b", "hello", 0, 0.5))
    assert "<pre>please <mark>ignore</mark> <mark>all</mark> of it</pre>" in found


def test_overlapping_evidence_repeats_no_text() -> None:
    found = page(screened("a", "abcdefgh", 1, 0.001, (1, 5), (3, 6), (2, 4)), screened("b", "hello", 0, 0.5))
    pre = re.findall(r"<pre>(.*?)</pre>", found, flags=re.DOTALL)
    assert [re.sub("</?mark>", "", text) for text in pre] == ["hello", "abcdefgh"]


def test_long_text_is_cut_around_its_evidence() -> None:
    text = "x" * 5000 + "IGNORE" + "y" * 5000
    found = page(screened("a", text, 1, 0.001, (5000, 5006)), screened("b", "hello", 0, 0.5))
    assert "<mark>IGNORE</mark>" in found
    assert "x" * EXCERPT not in found
    assert "y" * EXCERPT not in found


def test_hostile_text_is_escaped_wherever_it_stands() -> None:
    rows = [screened(HOSTILE, HOSTILE, label, 0.002 - 0.001 * label, (2, 20), source=HOSTILE) for label in (0, 1)]
    found = page(*rows, title=HOSTILE)
    assert "<script" not in found
    assert "<img" not in found
    assert "</pre></style>" not in found
    assert "&lt;img src=x" in found


@pytest.mark.parametrize("label", [0, 1])
def test_page_of_one_kind_of_row_only(label: int) -> None:
    found = page(*(screened(f"r{n}", "hello", label, 0.2 + n / 10) for n in range(3)))
    assert found.count("<svg") == 2
    assert "hello" in found
