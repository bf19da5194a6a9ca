"""Tokenise texts of any length and cut them into overlapping windows, so that nothing is truncated."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from worker.errors import UnsupportedModel

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Window:
    """A run of tokens the encoder sees at once.

    Attributes:
        ids: Token ids with the model's special tokens, int32 ``(length,)``.
        first: Position of the window's first content token in the text's tokens.
        content: Number of content tokens (without the special ones).
    """

    ids: IntArray
    first: int
    content: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text's tokens, with the characters each one came from.

    Attributes:
        ids: Content token ids, int32 ``(n_tokens,)``.
        offsets: Start and end character of every token, int32 ``(n_tokens, 2)``.
    """

    ids: IntArray
    offsets: IntArray


class WindowTokenizer:
    """A model's fast tokenizer and the way its texts are cut.

    Args:
        path: ``tokenizer.json`` of the model.
        size: Largest number of tokens in a window, special tokens included.
        overlap: Content tokens that two neighbouring windows share, so that an attack that one border
            cuts stands whole in the other window, if it is no longer than the overlap.
    """

    def __init__(self, path: Path, *, size: int, overlap: int):
        self._path = path
        self._tokenizer = Tokenizer.from_file(str(path))
        # A tokenizer.json may carry truncation: left on, it would drop the end of a long text silently.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.prefix, self.suffix = self._special_ids()
        self.size = size
        self.overlap = overlap
        room = size - len(self.prefix) - len(self.suffix)
        if not 0 <= overlap < room:
            raise UnsupportedModel(f"window overlap {overlap} must be under the window's room of {room} tokens")
        self.room = room

    @cached_property
    def sha256(self) -> str:
        """Hash of ``tokenizer.json``."""
        return hashlib.sha256(self._path.read_bytes()).hexdigest()

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self._tokenizer.get_vocab_size())

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenise texts in Rust, outside the interpreter lock, without special tokens."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [
            TokenizedText(
                np.asarray(encoding.ids, dtype=np.int32),
                np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2),
            )
            for encoding in encodings
        ]

    def windows(self, ids: IntArray) -> list[Window]:
        """Cut content tokens into windows that cover every token.

        Args:
            ids: int32 ``(n_tokens,)``.

        Returns:
            Windows in order; none for no tokens. The last one is moved back to be full, so that no window
            of a long text is a fragment without context.
        """
        total = len(ids)
        if total == 0:
            return []
        step = self.room - self.overlap
        starts = list(range(0, max(1, total - self.overlap), step))
        if total > self.room:
            starts[-1] = total - self.room
        return [self._window(ids, start) for start in starts]

    def _window(self, ids: IntArray, start: int) -> Window:
        content = ids[start : start + self.room]
        return Window(np.concatenate([self.prefix, content, self.suffix]), start, len(content))

    def _special_ids(self) -> tuple[IntArray, IntArray]:
        """Return what the model's post-processor puts before and after a text."""
        bare = self._tokenizer.encode("a", add_special_tokens=False).ids
        full = self._tokenizer.encode("a", add_special_tokens=True).ids
        for start in range(len(full) - len(bare) + 1):
            if full[start : start + len(bare)] == bare:
                return (
                    np.asarray(full[:start], dtype=np.int32),
                    np.asarray(full[start + len(bare) :], dtype=np.int32),
                )
        raise UnsupportedModel("the tokenizer's special tokens are not a prefix and a suffix of the text")
