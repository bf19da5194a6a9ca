"""How results and alarms look on a terminal."""

import unicodedata
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from schemas.result import ItemResult
    from schemas.signal import EvidenceSpan

SEVERITY_STYLE = {None: "green", "notice": "yellow", "warning": "dark_orange", "critical": "bold red"}
SHORT_SIGNAL = {
    "instruction_override": "override",
    "prompt_extraction": "extraction",
    "indirect_injection": "indirect",
    "harmful_request": "harmful",
    "jailbreak": "jailbreak",
    "obfuscation": "obfuscation",
}
"""Signal names where a terminal has no room for the full ones."""

CONTEXT = 28
"""Characters shown around the first piece of evidence."""


def verdict_table(title: str) -> Table:
    """Return an empty table for ``add_verdict``."""
    table = Table(title=title, title_justify="left", show_lines=False, pad_edge=False, expand=True)
    table.caption, table.caption_justify = "p-value ~: extrapolated beyond the calibration sample", "left"
    for name in ("item", "result", "signal or error"):
        table.add_column(name, no_wrap=True)
    table.add_column("p-value", justify="right", no_wrap=True)
    table.add_column("text, evidence highlighted", ratio=1, no_wrap=True, overflow="ellipsis")
    return table


def add_verdict(table: Table, result: "ItemResult", text: str) -> None:
    """Add a row for a result and the text it is about."""
    name = Text(one_line(result.item_id or f"#{result.item_index}"))
    if result.error is not None:
        table.add_row(
            name, Text("error", style="magenta"), Text(result.error.code, style="magenta"), "", one_line(text)
        )
        return
    style = SEVERITY_STYLE[result.severity]
    table.add_row(
        name,
        Text(result.severity or "clean", style=style),
        Text(SHORT_SIGNAL.get(leading_signal(result), ""), style=style),
        p_value_text(result),
        highlighted(text, result.evidence, style),
    )


def leading_signal(result: "ItemResult") -> str:
    """Return the signal the evidence speaks for."""
    return result.evidence[0].signal if result.evidence else ""


def p_value_text(result: "ItemResult") -> str:
    """Return the p-value with two digits; ``~`` marks an extrapolated one."""
    if result.p_value is None:
        return ""
    mark = "~" if result.extrapolated else ""
    if result.p_value >= 0.001:
        return f"{mark}{result.p_value:.2g}"
    return f"{mark}{result.p_value:.0e}"


def highlighted(text: str, evidence: "list[EvidenceSpan]", style: str) -> Text:
    """Return one line of the text around its heaviest evidence, with all evidence marked."""
    shown = Text()
    heaviest = max(evidence, key=lambda span: span.weight, default=None)
    start = max(0, heaviest.start - CONTEXT) if heaviest else 0
    if heaviest and start:
        # Begin at a word, if one begins before the evidence.
        border = text.find(" ", start, heaviest.start)
        start = border + 1 if border >= 0 else start
        shown.append("… ", style="dim")
    position = start
    for span in sorted(evidence, key=lambda span: span.start):
        if span.end <= position:
            continue
        shown.append(one_line(text[position : max(position, span.start)]))
        shown.append(one_line(text[max(position, span.start) : span.end]), style=f"reverse {style}")
        position = span.end
    shown.append(one_line(text[position : position + 200]), style="" if evidence else "dim")
    return shown


def one_line(text: str) -> str:
    """Return the text without line breaks, terminal control characters and combining marks.

    Screened text is hostile: an escape sequence in it must not reach the operator's terminal.
    """
    shown = (character if character.isprintable() else " " for character in text[:4000])
    return "".join(character for character in shown if not unicodedata.combining(character))
