"""The page on an evaluation: readable, harmless, and in one piece."""

import re

import numpy as np
import pytest

from schemas import EvidenceSpan, Signal
from worker.errors import FirewallError, NoTokens
from worker.fitting.dataset import LabelledText
from worker.fitting.evaluate import LENGTH_BANDS, evaluate
from worker.fitting.report import EXCERPT, WORST, Screened, explain, render_report
from worker.screening.policy import Policy
from worker.screening.screener import Finding

HOSTILE = "<script>alert('text')</script> & \"quoted\" </pre></style><img src=x onerror=alert(1)>"


def screened(
    name: str,
    text: str,
    label: int,
    p_value: float,
    *evidence: tuple[int, int],
    source: str = "own",
    leading: Signal = "jailbreak",
) -> Screened:
    found = Finding(
        statistic=-float(np.log(p_value)),
        p_value=p_value,
        extrapolated=False,
        severity="notice" if p_value < 0.01 else None,
        leading=leading,
        signals=[],
        evidence=[EvidenceSpan(signal="jailbreak", start=s, end=e, weight=0.5) for s, e in evidence],
        tokens=3,
        windows=1,
        policy=Policy(),
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
    assert many.count("<svg") == 5
    headings = [
        "ROC",
        "DET",
        "Reliability",
        "p-values of benign",
        "Labelled and leading signals",
        "False alarms by source",
    ]
    for heading in (*headings, "By signal", "By source", "By length", "look most like attacks", "look most harmless"):
        assert heading in many


def test_page_shows_the_worst_only(many: str) -> None:
    assert len(re.findall('<div class="text(?: flagged)?">', many)) == 2 * WORST


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


@pytest.mark.parametrize(("label", "drawn"), [(0, 3), (1, 1)])
def test_page_of_one_kind_of_row_only(label: int, drawn: int) -> None:
    found = page(*(screened(f"r{n}", "hello", label, 0.2 + n / 10) for n in range(3)))
    assert found.count("<svg") == drawn
    assert "hello" in found


def test_same_rows_give_the_same_page() -> None:
    rows = [screened(f"r{n}", "hello", n % 2, 0.2 + n / 100) for n in range(30)]
    assert page(*rows) == page(*rows)


def test_codebooks_distribution_is_drawn_over_the_scores() -> None:
    rows = [screened(f"r{n}", "hello", n % 2, (n + 1) / 32) for n in range(30)]
    asked: list[np.ndarray] = []

    def survival(scores: np.ndarray) -> np.ndarray:
        asked.append(scores)
        return np.exp(-np.maximum(scores, 0))

    found = render_report(rows, evaluate(rows), "rows.jsonl", survival)
    assert found.count("<svg") == 6
    assert "Tail of the benign distribution" in found
    lowest, highest = (found(pair[1].statistic for pair in rows) for found in (min, max))
    assert all(scores.min() <= lowest < highest <= scores.max() for scores in asked)
    assert all((np.diff(scores) > 0).all() for scores in asked)


def cells(found: str, first: str) -> list[str]:
    """The cells of the table row that begins with a name."""
    row = next(row for row in re.findall(r"<tr>(.*?)</tr>", found, flags=re.DOTALL) if f">{first}</td>" in row)
    return [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, flags=re.DOTALL)]


def test_leading_signals_are_counted_against_labels() -> None:
    found = page(
        *(screened(f"b{n}", "hello", 0, 0.5) for n in range(5)),
        screened("f", "hello", 0, 0.001, leading="obfuscation"),
        *(screened(f"a{n}", "ignore", 1, 0.001, leading="jailbreak") for n in range(3)),
        screened("o", "ignore", 1, 0.001, leading="obfuscation"),
        screened("m", "ignore", 1, 0.2, leading="prompt_extraction"),
    )
    table = found[found.index("Labelled and leading") :]
    assert re.findall("<th[^>]*>([^<]+)</th>", table)[:5] == [
        "labelled",
        "texts",
        "not flagged",
        "jailbreak",
        "obfuscation",
    ]
    assert cells(table, "benign") == ["benign", "6", "5", "", "1"]
    assert cells(table, "jailbreak") == ["jailbreak", "5", "1", "3", "1"]


def test_sources_with_enough_benign_texts_are_compared() -> None:
    rows = [screened(f"l{n}", "hello", 0, 0.5, source="acme/large:file a") for n in range(15)]
    rows += [screened(f"m{n}", "hello", 0, 0.001, source="acme/large:file b") for n in range(5)]
    rows += [screened(f"s{n}", "hello", 0, 0.001, source="acme/small:file") for n in range(19)]
    rows += [screened(f"a{n}", "hello", 1, 0.001, source="acme/attacks:file") for n in range(40)]
    found = page(*rows)
    table = found[found.index("False alarms by source") : found.index("Labelled and leading")]
    assert cells(table, "acme/large")[:3] == ["acme/large", "20", "25.0&nbsp;%"]
    assert 'class="n above"' in table
    assert "acme/small" not in table
    assert "acme/attacks" not in table


def test_lengths_are_in_order() -> None:
    found = page(*(screened(f"r{n}", "x" * n, n % 2, 0.5) for n in (10, 11, 200, 201, 2000, 2001, 7000)))
    table = found[found.index("By length") : found.index("By source")]
    order = re.findall(r'<td class="name">(.*?)</td>', table)
    assert list(dict.fromkeys(order)) == [name for _, name in LENGTH_BANDS]


class ExplainingScreener:
    """Marks the first letter of every text, and fails on those that say so."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def screen(self, texts: list[str], **options: bool) -> list[Finding | FirewallError]:
        assert options == {"bulk": True, "explain_clean": True}
        self.asked += texts
        return [NoTokens("none") if text == "fail" else screened("x", text, 1, 0.5, (0, 1))[1] for text in texts]


def test_quoted_texts_without_evidence_are_explained() -> None:
    rows = [screened("a", "miss", 1, 0.5), screened("b", "fail", 1, 0.4), screened("c", "hit", 1, 0.001, (0, 3))]
    rows += [screened(f"d{n}", f"quiet {n}", 0, 0.1 + n / 100) for n in range(WORST + 5)]
    screener = ExplainingScreener()
    explained = explain(screener, rows)  # type: ignore[arg-type]
    assert [row for row, _ in explained] == [row for row, _ in rows]
    assert [found.evidence != [] for _, found in explained] == [True, False, True] + [True] * WORST + [False] * 5
    assert "hit" not in screener.asked
    assert explain(screener, []) == []  # type: ignore[arg-type]
