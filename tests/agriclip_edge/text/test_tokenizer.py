"""WordPiece gives the ids that BERT's uncased tokenizer gives; the whole comparison is in tests/end_to_end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.errors import BundleError, BundleFault
from agriclip_edge.text.tokenizer import WordPiece

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] a leaf with rust ##y ru ##st ma ##is corn ##field , . - ( ) ! 稲 田 σοφοσ naive straße ' s"
).split()
IDS = {token: number for number, token in enumerate(VOCABULARY)}


@pytest.fixture(scope="module")
def tokenizer() -> WordPiece:
    return WordPiece("\n".join(VOCABULARY).encode() + b"\n")


CASES: dict[str, tuple[str, str]] = {
    "nothing": ("", ""),
    "spaces": (" \t\n\r  ", ""),
    "words": ("a leaf with rust", "a leaf with rust"),
    "capitals": ("A Leaf WITH Rust", "a leaf with rust"),
    "longest piece first": ("rusty", "rust ##y"),
    "pieces": ("cornfield", "corn ##field"),
    "no piece fits": ("leafx", "[UNK]"),
    "one unknown word among known": ("a xylem leaf", "a [UNK] leaf"),
    "accents": ("Maïs", "ma ##is"),
    "accents already apart": ("Mai\u0308s", "ma ##is"),
    "marks are words": ("leaf,rust.(a)-!", "leaf , rust . ( a ) - !"),
    "apostrophe": ("leaf's", "leaf ' s"),
    "Chinese characters are words": ("稲田", "稲 田"),
    "Chinese between Latin": ("a稲leaf", "a 稲 leaf"),
    "final sigma is a sigma": ("ΣΟΦΟΣ", "σοφοσ"),
    "sharp s stays": ("Straße", "straße"),
    "control characters vanish": ("le\x00a\x07f\ufffd", "leaf"),
    "zero width space vanishes": ("le\u200baf", "leaf"),
    "no-break space parts": ("a\u00a0leaf", "a leaf"),
    "ideographic space parts": ("a\u3000leaf", "a leaf"),
    "tab and line break part": ("a\tleaf\nwith", "a leaf with"),
    "a word of 100 characters": ("a" * 100, "[UNK]"),
    "a word of 101 characters": ("rust" * 26, "[UNK]"),
}


@pytest.mark.parametrize(("text", "tokens"), CASES.values(), ids=list(CASES))
def test_texts(text: str, tokens: str, tokenizer: WordPiece) -> None:
    assert tokenizer.encode(text) == [2, *(IDS[token] for token in tokens.split()), 3]


@given(st.text(st.integers(0, 0x10FFFF).map(chr) | st.sampled_from("aleaf rusty,.稲ïÏ\u0308"), max_size=30))
def test_any_text_gives_known_ids(text: str) -> None:
    tokenizer = WordPiece("\n".join(VOCABULARY).encode())
    ids = tokenizer.encode(text)
    assert (ids[0], ids[-1]) == (2, 3)
    assert all(token == 1 or 4 <= token < len(VOCABULARY) for token in ids[1:-1])


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_read_as_any_other_text(text: str) -> None:
    tokenizer = WordPiece("\n".join(VOCABULARY).encode())
    assert tokenizer.encode(text) == tokenizer.encode(f"{text}\u0308")  # the accent goes, the text is no ASCII


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "lacks .PAD. .UNK. .CLS. .SEP."),
    "not UTF-8": (b"[PAD]\n\xff\xfe\n", "is not UTF-8"),
    "a special token missing": (b"[PAD]\n[UNK]\n[CLS]\nleaf\n", "lacks .SEP."),
    "a token twice": (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nleaf\nleaf\n", "holds a token twice"),
    "two empty lines": (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n\n\n\n", "holds a token twice"),
}


@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=list(BROKEN))
def test_broken_vocabularies(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        WordPiece(data)
    assert caught.value.fault is BundleFault.VOCABULARY_INVALID


def test_windows_line_breaks_change_nothing(tokenizer: WordPiece) -> None:
    assert WordPiece("\r\n".join(VOCABULARY).encode() + b"\r\n").encode("a rusty leaf") == tokenizer.encode(
        "a rusty leaf"
    )
