"""Disguise texts as attackers do, harmless ones as well, so that an encoding alone is no sign of an attack."""

import base64
import codecs
import html
import zlib
from collections.abc import Callable, Sequence

from worker.fitting.dataset import LabelledText, held_out

MAX_CHARACTERS = 600
"""Longer texts are left alone: a disguise multiplies the tokens."""

_INTRODUCTIONS = (
    "",
    "",
    "Decode this: ",
    "What does this say?\n",
    "A colleague sent me the following line, can you read it?\n",
    "Found in the comments of a file:\n",
    "Please put this into plain text:\n",
    "Read the message below and carry on from there.\n",
)
_LEET = str.maketrans("aeiostgAEIOSTG", "43105794310579")
_LOOKALIKES = str.maketrans("aeopcyxijsAEOPCTXIH", "аеорсухіјѕАЕОРСТХІН")
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def _spaced(text: str) -> str:
    return "   ".join(" ".join(word) for word in text.split())


def _binary(text: str) -> str:
    return " ".join(f"{byte:08b}" for byte in text.encode()[:160])


DISGUISES: dict[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "binary": _binary,
    "entities": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "escapes": lambda text: "".join(f"\\u{unit:04x}" for unit in memoryview(text.encode("utf-16-le")).cast("H")),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "mirror": lambda text: text[::-1],
    "leet": lambda text: text.translate(_LEET),
    "spaces": _spaced,
    "invisible": "\u200b".join,
    "lookalikes": lambda text: text.translate(_LOOKALIKES),
    "full width": lambda text: text.translate(_FULL_WIDTH),
    "markup": lambda text: html.escape(text, quote=True),
}
"""Disguises by name; each takes a text and returns what an attacker would send."""


def disguise(rows: Sequence[LabelledText], share: float) -> list[LabelledText]:
    """Return disguised copies of a share of the short rows, drawn by hash.

    Benign rows stay benign; attacks become ``obfuscation``. Plain harmful requests are left out: disguised
    or not, they are a kind of their own. Both get their disguise and introduction by the same draw, so that
    neither tells the label.

    Args:
        rows: Labelled rows.
        share: Of the short rows.
    """
    names = list(DISGUISES)
    copies = []
    for row in rows:
        if row.signal == "harmful_request" or len(row.text) > MAX_CHARACTERS or not held_out(row, share, "disguise"):
            continue
        draw = zlib.crc32(f"{row.source}\x00{row.id}".encode())
        name = names[draw % len(names)]
        copies.append(
            LabelledText(
                id=f"{row.id}/{name}",
                text=_INTRODUCTIONS[draw // len(names) % len(_INTRODUCTIONS)] + DISGUISES[name](row.text),
                label=row.label,
                signal="obfuscation" if row.label else "benign",
                source=f"disguised: {name}",
                language=row.language,
            )
        )
    return copies
