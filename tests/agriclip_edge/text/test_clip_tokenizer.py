"""CLIP's byte pairs on a few merges; the comparison with open_clip is in tests/end_to_end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.errors import BundleError, BundleFault
from agriclip_edge.text.clip_tokenizer import END, START, ClipBpe, clean
from agriclip_edge.text.encoder import open_tokenizer
from agriclip_edge.text.tokenizer import WordPiece

MERGES = b"a n\nan an\nl e\nle a\nlea f</w>\nr u\ns t</w>\nru st</w>\n"


@pytest.fixture(scope="module")
def tokenizer() -> ClipBpe:
    return ClipBpe(MERGES)


CASES: dict[str, tuple[str, list[str]]] = {
    "nothing": ("", []),
    "spaces": (" \t\n ", []),
    "merges": ("leaf rust", ["leaf</w>", "rust</w>"]),
    "capitals": ("LEAF", ["leaf</w>"]),
    "a word that goes on": ("leafs", ["lea", "f", "s</w>"]),
    "a merge of merges, from left to right": ("anananx", ["anan", "an", "x</w>"]),
    "single digits": ("12", ["1</w>", "2</w>"]),
    "marks are one word": ("(!?", ["(", "!", "?</w>"]),
    "endings with an apostrophe": ("leaf's", ["leaf</w>", "'", "s</w>"]),
    "a curly apostrophe": ("leaf’s", ["leaf</w>", "'", "s</w>"]),
    "bytes": ("é", ["Ã", "©</w>"]),
    "accents that stand apart are joined": ("e\u0301", ["Ã", "©</w>"]),
    "entities": ("le&#97;f &amp;", ["leaf</w>", "&</w>"]),
    "names of special tokens are these tokens": (f"{START}leaf", [START, "leaf</w>"]),
}


@pytest.mark.parametrize(("text", "tokens"), CASES.values(), ids=list(CASES))
def test_texts(text: str, tokens: list[str], tokenizer: ClipBpe) -> None:
    expected = [tokenizer.ids[token] for token in (START, *tokens, END)]
    assert tokenizer.encode(text) == expected


def test_the_ids_are_bytes_then_merges_then_start_and_end(tokenizer: ClipBpe) -> None:
    assert [tokenizer.ids[token] for token in ("!", "!</w>", "an", "rust</w>", START, END)] == [
        0,
        256,
        512,
        519,
        520,
        521,
    ]
    assert len(tokenizer) == 522


def test_cleaning() -> None:
    assert clean(" ＭＡＩＺＥ　\x1b[31mleaf\x1b[0m \ufeff&EACUTE;&ldquo;ﬁve\x93 ") == 'maize leaf é"five"'
    assert clean("a <b>&eacute;</b>") == "a <b>é</b>"
    assert clean("\ud83c\udf3d \ud83c") == "🌽 \ufffd"


@given(st.text(st.integers(0, 0x10FFFF).map(chr) | st.sampled_from("leaf rust,.&;#<é\u0301'"), max_size=30))
def test_any_text_gives_known_ids(text: str) -> None:
    tokenizer = ClipBpe(MERGES)
    ids = tokenizer.encode(text)
    assert (ids[0], ids[-1]) == (520, 521)
    assert all(0 <= token < len(tokenizer) for token in ids)


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "line 1 is ''"),
    "not UTF-8": (b"a \xff\n", "is not UTF-8"),
    "three pieces": (b"a n d\n", "line 1 is 'a n d'"),
    "a piece that nobody made": (b"a n\nan xy\n", "line 2 is 'an xy'"),
    "a merge twice": (b"a n\na n\n", "holds a merge twice"),
    "WordPiece's": (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "line 1 is '.PAD.'"),
}


@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=list(BROKEN))
def test_broken_merges(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        open_tokenizer("clip-bpe", data)
    assert caught.value.fault is BundleFault.VOCABULARY_INVALID


def test_the_manifest_says_which_tokenizer() -> None:
    assert isinstance(open_tokenizer("wordpiece", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n"), WordPiece)
    assert isinstance(open_tokenizer("clip-bpe", MERGES), ClipBpe)
