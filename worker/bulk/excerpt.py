"""A text around its evidence, cut into pieces that are marked or not."""

from collections.abc import Sequence

from schemas.signal import EvidenceSpan

EXCERPT = 600
"""Characters shown of a text."""


def marked_parts(text: str, evidence: Sequence[EvidenceSpan]) -> list[tuple[str, bool]]:
    """Return up to ``EXCERPT`` characters around the heaviest span, as pieces and whether each is evidence."""
    heaviest = max(evidence, key=lambda span: span.weight, default=None)
    start = max(0, heaviest.start - EXCERPT // 3) if heaviest else 0
    end = min(len(text), start + EXCERPT)
    parts: list[tuple[str, bool]] = [("… ", False)] if start else []
    position = start
    for span in sorted(evidence, key=lambda span: span.start):
        if span.end <= position or span.start >= end:
            continue
        parts.append((text[position : max(position, span.start)], False))
        parts.append((text[max(position, span.start) : min(span.end, end)], True))
        position = min(span.end, end)
    parts.append((text[position:end] + (" …" if end < len(text) else ""), False))
    return [part for part in parts if part[0]]
