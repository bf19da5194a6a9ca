r"""Undo the encodings that attackers hide instructions in and language models read without help.

Byte codes (base64, base32, hexadecimal, binary), escapes (HTML entities, percent codes, ``\u0041``),
rot13, reversed lines and digits for letters are replaced where they stand. A stretch that does not decode
to readable text is left as it is, so that keys, hashes and file contents cost nothing. Every function is
linear in the text's length.
"""

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

MAX_NESTING = 3
"""Encodings of encodings that are undone."""

_BASE64 = re.compile(r"(?:[A-Za-z0-9+/_-]{60,}\r?\n)*[A-Za-z0-9+/_-]{16,}={0,2}")
_BASE32 = re.compile(r"\b[A-Z2-7]{16,}={0,6}")
_HEX = re.compile(r"\b[0-9A-Fa-f]{2}(?:[ :]?[0-9A-Fa-f]{2}){7,}\b")
_BINARY = re.compile(r"\b[01]{8}(?:[ ,]?[01]{8}){3,}\b")
_ENTITIES = re.compile(r"(?:&#(?:\d{1,7}|[xX][0-9A-Fa-f]{1,6});){3,}")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ESCAPES = re.compile(r"(?:\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}){3,}")
_URL_SAFE = str.maketrans("-_", "+/")
_NOT_HEX = re.compile(r"[ :]")

# Frequent English words. In rot13 and in the mirror the first group are no words of a common language ("dna" is
# "and", "unir" is "have": they count with the second).
_COMMON = re.compile(r"\b(?:the|and|you|your|this|that|with|have|from|all|to|is|it|in|of|not|are|for)\b", re.IGNORECASE)
_ROT13 = re.compile(r"\b(?:gur|naq|lbhe?|guvf|gung|jvgu|sebz|nyy)\b", re.IGNORECASE)
_ROT13_SHORT = re.compile(r"\b(?:gb|vf|vg|va|bs|abg|ner|sbe|unir)\b", re.IGNORECASE)
_MIRROR = re.compile(r"\b(?:eht|r?uoy|siht|taht|htiw|evah|morf|lla)\b", re.IGNORECASE)
_MIRROR_SHORT = re.compile(r"\b(?:ot|si|ti|ni|fo|ton|era|rof|dna)\b", re.IGNORECASE)

_LEET_WORD = re.compile(r"[A-Za-z0-9@](?:[A-Za-z0-9@$€!|+]*[A-Za-z0-9@€])?")
_LEET_SUSPECT = re.compile(r"[A-Za-z][0-9@$€!|+]+[A-Za-z]|(?<![A-Za-z0-9@])[0-9@]+[A-Za-z]{2}")
_LEET = str.maketrans("01345789@$€!|+", "oieastbgaseilt")
_ORDINAL = re.compile(r"\d*(?:1st|2nd|3rd|\dth)")
_MIN_LEET_WORDS = 2
_MIN_LEET_SHARE = 0.25

_SUSPECT = re.compile(r"[A-Za-z0-9+/_-]{16}|[01]{8}[ ,][01]{8}|(?:[0-9A-Fa-f]{2}[ :]){7}|&#|%[0-9A-Fa-f]{2}|\\[ux]")


def decode(text: str, origin: list[int]) -> tuple[str, list[int]]:
    """Return the text with its encodings undone.

    Args:
        text: The text.
        origin: A number for every character.

    Returns:
        The decoded text, and for each of its characters the number of the one it came from. Characters of a
        decoded stretch are spread evenly over it.
    """
    for _ in range(MAX_NESTING):
        before = text
        if _SUSPECT.search(text):
            for pattern, reading in _READINGS:
                text, origin = _replace(text, origin, pattern, reading)
        text, origin = _turn_lines(text, origin)
        text, origin = _undo_leet(text, origin)
        if text == before:
            break
    return text, origin


def _replace(
    text: str, origin: list[int], pattern: re.Pattern[str], reading: Callable[[str], str | None]
) -> tuple[str, list[int]]:
    pieces: list[str] = []
    numbers: list[int] = []
    position = 0
    for match in pattern.finditer(text):
        decoded = reading(match.group())
        if decoded is None:
            continue
        start, end = match.span()
        pieces += [text[position:start], decoded]
        numbers += origin[position:start]
        numbers += [origin[start + k * (end - start) // len(decoded)] for k in range(len(decoded))]
        position = end
    if not pieces:
        return text, origin
    return "".join([*pieces, text[position:]]), numbers + origin[position:]


def _readable(content: bytes) -> str | None:
    """Return bytes as text if they are one: UTF-8, varied, nearly all letters, digits, spaces and punctuation."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    plain = sum(character.isalnum() or character.isspace() for character in text)
    visible = sum(character.isprintable() or character in "\t\n\r" for character in text)
    likely = len(set(text)) > 3 and plain >= 0.6 * len(text) and visible >= 0.97 * len(text)
    return text if likely else None


def _from_base64(run: str) -> str | None:
    code = "".join(run.split()).rstrip("=")
    code = code[: len(code) - (len(code) % 4 == 1)]
    try:
        return _readable(base64.b64decode(code.translate(_URL_SAFE) + "=" * (-len(code) % 4)))
    except binascii.Error:
        return None


def _from_base32(run: str) -> str | None:
    code = run.rstrip("=")
    code = code[: len(code) - {1: 1, 3: 1, 6: 1}.get(len(code) % 8, 0)]
    try:
        return _readable(base64.b32decode(code + "=" * (-len(code) % 8)))
    except binascii.Error:
        return None


def _from_hex(run: str) -> str | None:
    code = _NOT_HEX.sub("", run)
    return _readable(bytes.fromhex(code)) if len(code) % 2 == 0 else None


def _from_binary(run: str) -> str | None:
    bits = re.sub(r"[ ,]", "", run)
    return _readable(bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)))


def _from_entities(run: str) -> str | None:
    return html.unescape(run) or None


def _from_percent(run: str) -> str | None:
    try:
        return unquote_to_bytes(run).decode()
    except UnicodeDecodeError:
        return None


def _from_escapes(run: str) -> str | None:
    text = codecs.decode(run, "unicode_escape")
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None  # half of a surrogate pair


# A narrower alphabet comes before a wider one that holds it.
_READINGS: tuple[tuple[re.Pattern[str], Callable[[str], str | None]], ...] = (
    (_BINARY, _from_binary),
    (_HEX, _from_hex),
    (_BASE32, _from_base32),
    (_BASE64, _from_base64),
    (_ENTITIES, _from_entities),
    (_PERCENT, _from_percent),
    (_ESCAPES, _from_escapes),
)


def _turn_lines(text: str, origin: list[int]) -> tuple[str, list[int]]:
    """Undo rot13 and mirror writing, line by line, where their words outnumber those that need no undoing."""
    if not (_ROT13.search(text) or _MIRROR.search(text)):
        return text, origin
    lines: list[str] = []
    numbers: list[int] = []
    position = 0
    for line in text.splitlines(keepends=True):
        own = origin[position : position + len(line)]
        position += len(line)
        common = len(_COMMON.findall(line))
        if (found := len(_ROT13.findall(line))) and found + len(_ROT13_SHORT.findall(line)) >= common:
            lines.append(codecs.encode(line, "rot13"))
        elif (found := len(_MIRROR.findall(line))) and found + len(_MIRROR_SHORT.findall(line)) >= common:
            body = line.splitlines()[0]  # the line's end stays where it is
            lines.append(body[::-1] + line[len(body) :])
            own[: len(body)] = own[: len(body)][::-1]
        else:
            lines.append(line)
        numbers += own
    return "".join(lines), numbers


def _undo_leet(text: str, origin: list[int]) -> tuple[str, list[int]]:
    """Read digits and signs inside words as the letters they resemble, where a fair share of the words has them."""
    if not _LEET_SUSPECT.search(text):
        return text, origin
    words = disguised = 0
    pieces: list[str] = []
    position = 0
    for match in _LEET_WORD.finditer(text):
        word = match.group()
        words += 1
        read = word.translate(_LEET)
        if read == word or not read.isalpha() or not any(map(str.isalpha, word)) or _ORDINAL.fullmatch(word):
            continue
        disguised += 1
        pieces += [text[position : match.start()], read]
        position = match.end()
    if disguised < _MIN_LEET_WORDS or disguised < _MIN_LEET_SHARE * words:
        return text, origin
    return "".join([*pieces, text[position:]]), origin


def suspected(text: str) -> bool:
    """Tell whether ``decode`` might change the text; false for nearly all plain texts, at a fraction of its cost."""
    return any(pattern.search(text) is not None for pattern in (_SUSPECT, _ROT13, _MIRROR, _LEET_SUSPECT))
