"""The canonical view of a text: what a language model reads through a disguise.

Attackers hide instructions from filters with characters that models see through: full-width and
mathematical letters, invisible characters between letters, look-alike letters of other scripts, Unicode
tags, letters set apart by spaces, encodings. The canonical view undoes these; it is screened beside the text as
written, and every character of it knows the character it came from, so that evidence points into the
original. References: Unicode TR 36 and UTS 39 (confusables), UAX 15 (NFKC).
"""

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.text import encodings

MAX_MARKS = 2
"""Combining marks kept after a base character. Living scripts need two; "zalgo" text has dozens."""

MAX_EXPANSION = 4
"""Characters that one character may become."""

LONG_WORD = 100
"""Letters and digits in a row beyond which WordPiece gives up and reads one unknown token."""

_LOOKALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝАВЕКМНОРСТУХІЈЅαοερνικΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɡ",
    "aeopcyxijshdqwABEKMHOPCTYXIJSaoepvikABEZHIKMNOPTYXig",
)
_SUSPICIOUS = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef]"
)
_MIXED_WORD = re.compile(r"[^\W\d_]{2,}")
_LATIN = re.compile(r"[A-Za-z]")
_SPACED_LETTERS = re.compile(r"(?<!\S)(?:[^\W_][ .\-_*|/]){3,}[^\W_](?!\S)")
_SPACED_SHORT = re.compile(r"(?<!\S)(?:[^\W_][ .\-_*|/])+[^\W_](?!\S)")
_LONG_WORD = re.compile(rf"[A-Za-z0-9]{{{LONG_WORD + 1},}}")
_TAG_BASE = 0xE0000


@dataclass(frozen=True, slots=True)
class CanonicalView:
    """A canonicalised text.

    Attributes:
        text: The canonical text.
        origin: For every character of ``text`` the index of the original character, int32 ``(len(text),)``.
    """

    text: str
    origin: npt.NDArray[np.int32]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Map a span of the canonical text to the original one; an empty one, of a trimmed space, to its character."""
        start = min(start, len(self.origin) - 1)
        covered = self.origin[start : max(end, start + 1)]
        return int(covered.min()), int(covered.max()) + 1  # a mirrored line runs backwards


def canonical_view(text: str) -> CanonicalView | None:
    """Return the canonical view, or None when it would equal the text as written.

    Linear in the text's length: characters are folded one by one, never through whole-string
    normalisation, whose reordering of long runs of combining marks is quadratic.
    """
    foreign = not text.isascii() and _needs_folding(text)
    if not (foreign or _SPACED_LETTERS.search(text) or _LONG_WORD.search(text) or encodings.suspected(text)):
        return None
    folded, origin = text, list(range(len(text)))
    if foreign:
        folded, origin = _fold(text)
        folded = _fold_lookalikes(folded)
    if _SPACED_LETTERS.search(folded) is not None:
        folded, origin = _join_spaced_letters(folded, origin)
    folded, origin = encodings.decode(folded, origin)
    folded, origin = _break_long_words(folded, origin)
    if folded == text or not folded.strip():
        return None
    return CanonicalView(folded, np.asarray(origin, dtype=np.int32))


def _needs_folding(text: str) -> bool:
    if _SUSPICIOUS.search(text):
        return True
    alphabet = set(text)
    if any(_fold_character(character) != character for character in alphabet):
        return True
    if any(_is_mark(character) for character in alphabet):
        return True
    return _fold_lookalikes(text) != text


def _is_mark(character: str) -> bool:
    return unicodedata.combining(character) > 0 or unicodedata.category(character) == "Me"


def _fold_character(character: str) -> str:
    """Return what stands for one character: itself, its compatibility form, or nothing."""
    code = ord(character)
    if _TAG_BASE + 0x20 <= code < _TAG_BASE + 0x7F:
        return chr(code - _TAG_BASE)  # Unicode tags: invisible to people, ASCII to models
    if _SUSPICIOUS.match(character):
        return ""
    if _is_mark(character) or unicodedata.category(character)[0] in "PZ":
        return character  # full-width punctuation is how Chinese and Japanese are written
    # A compatibility form can be one letter (fullwidth a) or several (ligature fi, circled ten). A few are
    # whole phrases (U+FDFA has 18 characters): a text of them would cost many times its length.
    folded = unicodedata.normalize("NFKC", character)
    return folded if len(folded) <= MAX_EXPANSION else character


def _fold(text: str) -> tuple[str, list[int]]:
    table = {character: _fold_character(character) for character in set(text)}
    marks = {character for character in table if _is_mark(character)}
    pieces: list[str] = []
    origin: list[int] = []
    run = 0
    for index, character in enumerate(text):
        piece = table[character]
        if not piece:
            continue  # an invisible character does not end a run of marks
        run = run + 1 if character in marks else 0
        if run > MAX_MARKS:
            continue
        pieces.append(piece)
        origin.extend([index] * len(piece))
    return "".join(pieces), origin


def _fold_lookalikes(text: str) -> str:
    """Replace look-alike letters in words that mix them with Latin ones; length is kept."""
    if text.isascii():
        return text

    def fold_word(match: re.Match[str]) -> str:
        word = match.group()
        return word.translate(_LOOKALIKES) if _LATIN.search(word) else word

    return _MIXED_WORD.sub(fold_word, text)


def _join_spaced_letters(text: str, origin: list[int]) -> tuple[str, list[int]]:
    """Join ``i g n o r e`` to ``ignore``; double spaces between such words stay as word borders.

    Words of two or three letters are joined only in a text that is written like that: ``vitamins a b`` is not.
    """
    everywhere = len(_SPACED_LETTERS.findall(text)) > 1
    kept: list[int] = []
    position = 0
    for match in (_SPACED_SHORT if everywhere else _SPACED_LETTERS).finditer(text):
        kept.extend(range(position, match.start()))
        kept.extend(range(match.start(), match.end(), 2))
        position = match.end()
    kept.extend(range(position, len(text)))
    return "".join(text[index] for index in kept), [origin[index] for index in kept]


def _break_long_words(text: str, origin: list[int]) -> tuple[str, list[int]]:
    """Put a space into words that the tokenizer would read as one unknown token, every ``LONG_WORD`` letters."""
    kept: list[int] = []
    broken: list[str] = []
    position = 0
    for match in _LONG_WORD.finditer(text):
        for start in range(match.start() + LONG_WORD, match.end(), LONG_WORD):
            broken += [text[position:start], " "]
            kept += [*range(position, start), start]
            position = start
    broken.append(text[position:])
    kept += range(position, len(text))
    return "".join(broken), [origin[index] for index in kept]
