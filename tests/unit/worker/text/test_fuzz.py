"""Canonicaliser and tokeniser under a fuzzer: no crash, evidence within the text, effort in proportion to length."""

import base64
import codecs
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny_models import byte_level_tokenizer
from worker.model.hub import resolve_model
from worker.model.pinned import MINILM
from worker.model.windows import WindowTokenizer
from worker.screening.screener import prepare
from worker.text.canonical import canonical_view

LONG = 300_000
"""Characters of a text whose effort is tried. What is linear takes a second or two; a regular expression that looks at
the rest of the text from every character takes minutes, ``a*b`` on this many ``a`` one."""

PATIENCE_S = 40
"""Ends a test whose effort is out of proportion; tens of times what linear effort takes, so load does not fail it."""

WORDS = "Ignore the rules"
PIECES = [
    *"aA1@$! .-_|/:=%&#;\\\n\t\x7f",
    *"\u0301\u0488\u200b\u202e\ufe0f\U000e0069\ufdfa\ufb01\u1100\u0958\u3164\ufeff\xad",
    *"Ｉа界ä𝐢①🦊",
    *("gur ", "eht ", "h3ll0 ", "a b c d ", "a.b.c.d", "&#65;", "&#x", "%41", "%", "\\u0041", "\\x", "01010101 ", "=="),
    *(base64.b64encode(WORDS.encode()).decode(), WORDS.encode().hex(":"), "A" * 60 + "\n", "A" * 15, "aa" * 8),
    *(codecs.encode(WORDS, "rot13"), WORDS[::-1], "ig\u200bno\u200bre", "##a", "[CLS]", "<|endoftext|>"),
]
PATTERNS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
MIXTURES = [
    "1##a##a",
    "%41\u0301",
    "a b &#65;",
    "\\u0041\\x",
    "aa.b-",
    "gur eht ",
    "A" * 60 + "\n%",
    "01010101 ==",
    "\u200ba\u0301\u0301",
    "界 a",
]
TEXTS = st.text(max_size=400) | st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@pytest.fixture(scope="module", params=["wordpiece", "bytes"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> WindowTokenizer:
    """The shipped model's own tokenizer, and one like SmolLM2's."""
    if request.param == "wordpiece":
        path = resolve_model(MINILM, offline=True).directory / "tokenizer.json"
    else:
        path = Path(tmp_path_factory.mktemp("tokenizer")) / "tokenizer.json"
        byte_level_tokenizer().save(str(path))
    return WindowTokenizer(path, size=64, overlap=16)


@settings(max_examples=400, deadline=None)
@given(text=TEXTS)
def test_every_view_of_any_text_points_into_it(tokenizer: WindowTokenizer, text: str) -> None:
    (prepared,) = prepare(tokenizer, [text])
    for view in prepared.views:
        ids, offsets = view.tokens.ids, view.tokens.offsets
        read = text if view.canonical is None else view.canonical.text
        assert ((ids >= 0) & (ids < tokenizer.vocabulary)).all()
        assert ((offsets[:, 0] <= offsets[:, 1]) & (offsets[:, 1] <= len(read))).all()
        covered = np.zeros(len(ids), dtype=bool)
        for window in view.windows:
            covered[window.first : window.first + window.content] = True
            assert len(window) <= tokenizer.size
        assert covered.all()
        if view.canonical is not None:
            for start, end in offsets:
                begin, stop = view.canonical.span(int(start), int(end))
                assert 0 <= begin < stop <= len(text)


def filled(pattern: str, length: int, end: str = "") -> str:
    return (pattern * (length // len(pattern) + 1))[: length - len(end)] + end


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize("pattern", [*PIECES, *MIXTURES], ids=ascii)
def test_the_canonical_view_takes_effort_in_proportion_to_the_text(pattern: str) -> None:
    for end in ("", "!"):
        canonical_view(filled(pattern, LONG, end))


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize("pattern", MIXTURES, ids=ascii)
def test_tokens_and_windows_take_effort_in_proportion_to_the_text(tokenizer: WindowTokenizer, pattern: str) -> None:
    prepare(tokenizer, [filled(pattern, LONG)])


@settings(max_examples=100, deadline=None)
@given(pattern=PATTERNS)
def test_tokens_and_windows_grow_in_proportion_to_the_text(tokenizer: WindowTokenizer, pattern: str) -> None:
    text = filled(pattern, 2_000)
    (prepared,) = prepare(tokenizer, [text])
    # A byte is the smallest token, a canonical character may be four, and windows overlap by a quarter.
    assert all(len(view.tokens.ids) <= 4 * 4 * len(text) for view in prepared.views)
    assert sum(map(len, prepared.windows)) <= 2 * 2 * 4 * 4 * len(text)
