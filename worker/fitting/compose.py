"""Compose rows of parts: a request in a frame, a sentence planted in a document.

Attacks and harmless texts get the same frames, documents, places and wrappings by the same draw, so that none of
these tells the label: in a frame that fits anything only what is wanted makes the difference, in a document only
what the sentence wants of its reader. The idea of filling templates is that of adversarial training sets such as
WildTeaming (L. Jiang et al., 2024); the parts are the project's own (``data/parts``).
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from worker.errors import InvalidField
from worker.fitting.dataset import LabelledText

T = TypeVar("T")

SLOT = "{goal}"

MIN_GOAL, MAX_GOAL = 15, 220
"""Characters of a request that goes into a frame."""

MIN_DOCUMENT, MAX_DOCUMENT = 150, 1600
"""Characters of a document. Of a longer one training might see windows without the sentence and call them attacks."""

_BORDER = re.compile(r"(?<=[.!?。।])\s+|\n+")
_STRING_VALUE = re.compile(r'"\s*:\s*"(?:[^"\\]|\\.)*')

_WRAPPINGS: tuple[Callable[[str], str], ...] = (
    lambda text: f" {text} ",
    lambda text: f" {text} ",
    lambda text: f" {text} ",
    lambda text: f"\n\n{text}\n\n",
    lambda text: f"\n{text}\n",
    lambda text: f" ({text}) ",
    lambda text: f"\n<!-- {text} -->\n",
    lambda text: f'<span style="display:none">{text}</span> ',
    lambda text: f"\n[//]: # ({text})\n",
    lambda text: f"\n> {text}\n",
    lambda text: f" Note: {text} ",
    lambda text: f"\n--- {text} ---\n",
    lambda text: f" *{text}* ",
)


@dataclass(frozen=True)
class Part:
    """A frame, or a sentence to plant.

    Attributes:
        text: Frames and overrides hold ``{goal}`` once, where a request goes.
        theme: What kind of it.
    """

    text: str
    theme: str


@dataclass(frozen=True)
class Parts:
    """What is composed; every field is a file of ``data/parts``.

    Attributes:
        frames: Neutral: fiction, roles, formats. With a harmful request it is a jailbreak, else harmless.
        overrides: They talk the model out of its rules, whatever the request.
        plants: Instructions to the model that reads a document.
        notes: Their harmless counterparts, meant for people.
    """

    frames: tuple[Part, ...]
    overrides: tuple[Part, ...]
    plants: tuple[Part, ...]
    notes: tuple[Part, ...]


def part_files(directory: Path) -> list[Path]:
    """Return the files of ``Parts`` in the order of its fields."""
    return [directory / f"{field.name}.jsonl" for field in fields(Parts)]


def read_parts(directory: Path) -> Parts:
    """Read ``frames.jsonl``, ``overrides.jsonl``, ``plants.jsonl`` and ``notes.jsonl``.

    Raises:
        InvalidField: A file is missing or a row is not a part; the message gives file and line.
    """
    frames, overrides, plants, notes = part_files(directory)
    return Parts(_read(frames, slots=1), _read(overrides, slots=1), _read(plants, slots=0), _read(notes, slots=0))


def compose(rows: Sequence[LabelledText], parts: Parts, pairs: int, seed: int) -> list[LabelledText]:
    """Return new rows, composed of parts and of the rows' short requests and documents.

    Args:
        rows: Labelled rows that may be fitted on. Requests are short one-line benign and ``harmful_request`` rows,
            documents are longer benign rows.
        parts: The project's own.
        pairs: Pairs of frames, and pairs of documents; half as many overrides. Without rows to fill them with, a
            kind is left out.
        seed: Of all draws.
    """
    draw = np.random.default_rng(seed)
    harmless = [row for row in rows if row.label == 0 and _is_goal(row.text)]
    harmful = [row for row in rows if row.signal == "harmful_request" and _is_goal(row.text)]
    documents = [row for row in rows if row.label == 0 and MIN_DOCUMENT <= len(row.text) <= MAX_DOCUMENT]
    made: list[LabelledText] = []
    if harmless and harmful:
        for number in range(pairs):
            frame = _pick(draw, parts.frames)
            for goal, signal in ((_pick(draw, harmful), "jailbreak"), (_pick(draw, harmless), "benign")):
                made.append(_filled("frame", number, frame, goal, signal))
        for number in range(pairs // 2):
            override = _pick(draw, parts.overrides)
            goal = _pick(draw, harmful if draw.random() < 0.5 else harmless)
            signal = "jailbreak" if goal.label else "instruction_override"
            made.append(_filled("override", number, override, goal, signal))
    if documents:
        for number in range(pairs):
            document, place, wrapping = _pick(draw, documents), draw.random(), _pick(draw, _WRAPPINGS)
            for kind, part, signal in (
                ("plant", _pick(draw, parts.plants), "indirect_injection"),
                ("note", _pick(draw, parts.notes), "benign"),
            ):
                text = _planted(document.text, part.text, place, wrapping)
                made.append(_row(kind, number, part, text, signal, document.language))
    return made


def _is_goal(text: str) -> bool:
    return MIN_GOAL <= len(text) <= MAX_GOAL and "\n" not in text.strip()


def _filled(kind: str, number: int, part: Part, goal: LabelledText, signal: str) -> LabelledText:
    return _row(kind, number, part, part.text.replace(SLOT, goal.text.strip()), signal, goal.language)


def _row(kind: str, number: int, part: Part, text: str, signal: str, language: str) -> LabelledText:
    label = int(signal != "benign")
    return LabelledText(f"{kind}-{number}-{label}", text, label, signal, f"{kind}: {part.theme}", language)


def _planted(document: str, sentence: str, place: float, wrapping: Callable[[str], str]) -> str:
    """Put a sentence between two others, or at the end of a string value of JSON.

    Args:
        document: The document.
        sentence: What to put there.
        place: Of the possible places, from 0, the first, to below 1.
        wrapping: How it is set off from its surroundings.
    """
    if document.lstrip()[:1] in ("{", "[") and (values := [m.end() for m in _STRING_VALUE.finditer(document)]):
        at = values[int(place * len(values))]
        return f"{document[:at]} {json.dumps(sentence, ensure_ascii=False)[1:-1]}{document[at:]}"
    borders = [0, *(match.end() for match in _BORDER.finditer(document)), len(document)]
    at = borders[int(place * len(borders))]
    return (document[:at].rstrip(" ") + wrapping(sentence) + document[at:]).strip()


def _pick(draw: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(draw.integers(len(values)))]


def _read(path: Path, *, slots: int) -> tuple[Part, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidField(f"{path.name} cannot be read as UTF-8 JSON lines ({type(error).__name__})") from None
    parts = []
    for number, line in enumerate(lines, start=1):
        try:
            raw = json.loads(line)
            part = Part(str(raw["text"]), str(raw["theme"]))
        except (ValueError, KeyError, TypeError):
            raise InvalidField(f"{path.name}, line {number}: not an object with text and theme") from None
        if part.text.count(SLOT) != slots or not part.text.strip():
            raise InvalidField(f"{path.name}, line {number}: {SLOT} must occur {slots} times", field="text")
        parts.append(part)
    if not parts:
        raise InvalidField(f"{path.name} is empty; it must hold at least one part")
    return tuple(parts)
