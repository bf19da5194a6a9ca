"""One row of an input: a text with the place it came from."""

from dataclasses import dataclass
from typing import Any

from worker.errors import InputError


@dataclass(frozen=True, slots=True)
class Columns:
    """Which fields of a row are looked at.

    Attributes:
        text: Field or column with the text.
        id: Field or column with the id; a row without one is named after its place.
        whole: Keep the whole row, for the files that rows are sorted into.
    """

    text: str = "text"
    id: str = "id"
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was read.

    Attributes:
        input: Name of its input.
        number: Its number there, from 1; of JSON lines the line's.
        id: Its own id, or one made of input and number: the same whenever the input is read again.
        text: Whatever stands where the text should be; only a string can be screened.
        original: The row as it goes into a sorted file: JSON text, or an object still to be written as such.
        fault: Why it cannot be screened, if that is known already.
        position: Bytes of this input read so far, compressed ones if it is compressed.
    """

    input: str
    number: int
    id: str
    text: Any
    original: str | dict[str, Any] | None = None
    fault: InputError | None = None
    position: int = 0


def row_id(given: object, name: str, number: int) -> str:
    """Return a row's id: its own, if it is text or a number, or one made of its place."""
    if isinstance(given, str) and given:
        return given if given.isascii() else given.encode("utf-8", "replace").decode()
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    return f"{name}:{number}"
