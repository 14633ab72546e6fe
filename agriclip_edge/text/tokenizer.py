"""BERT's uncased WordPiece tokenizer, tested for equality against the ``tokenizers`` package."""

from __future__ import annotations

import unicodedata

from ..errors import BundleError, BundleFault

_MAX_WORD_CHARACTERS = 100  # as in BERT: a longer word becomes [UNK]
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """Turns a text into token ids.

    Example:
        >>> tokenizer = WordPiece("[PAD]\\n[UNK]\\n[CLS]\\n[SEP]\\nleaf\\nru\\n##st\\n".encode())
        >>> tokenizer.encode("Leaf, rust")
        [2, 4, 1, 5, 6, 3]
    """

    def __init__(self, vocabulary: bytes) -> None:
        """Read ``vocab.txt``: one token a line, its id the line number from 0.

        Raises:
            BundleError: not UTF-8, a token twice, or one of [PAD] [UNK] [CLS] [SEP] is missing.
        """
        try:
            tokens = vocabulary.decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise BundleError(BundleFault.VOCABULARY_INVALID, f"the vocabulary is not UTF-8: {error.reason}") from None
        self._ids = {token.removesuffix("\r"): number for number, token in enumerate(tokens)}
        missing = [token for token in _SPECIAL if token not in self._ids]
        if missing or len(self._ids) != len(tokens):
            found = f"lacks {' '.join(missing)}" if missing else "holds a token twice"
            raise BundleError(BundleFault.VOCABULARY_INVALID, f"the vocabulary {found}")
        self.pad, self._unknown, self._start, self._end = (self._ids[token] for token in _SPECIAL)

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, from [CLS] to [SEP]."""
        ids = [self._start]
        for word in _words(text):
            ids.extend(self._pieces(word))
        return [*ids, self._end]

    def _pieces(self, word: str) -> list[int]:
        """The longest known pieces of a word from left to right, or [UNK] for the whole word."""
        if len(word) > _MAX_WORD_CHARACTERS:
            return [self._unknown]
        pieces: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = word[start:end] if start == 0 else f"##{word[start:end]}"
                if piece in self._ids:
                    pieces.append(self._ids[piece])
                    start = end
                    break
            else:
                return [self._unknown]
        return pieces


def _words(text: str) -> list[str]:
    """Lower-case words without accents; each punctuation mark and each CJK character is a word of its own."""
    if text.isascii():
        return text.translate(_ASCII).split()
    kept = []
    for character in text:
        code = ord(character)
        if code in (0, 0xFFFD) or _is_control(character):
            continue
        spaced = any(low <= code <= high for low, high in _CJK)
        kept.append(f" {character} " if spaced else " " if character.isspace() else character)
    folded = unicodedata.normalize("NFD", "".join(kept))
    # Letter by letter, as BERT: lower() of a whole word would end it in another sigma.
    bare = "".join(character.lower() for character in folded if unicodedata.category(character) != "Mn")
    return "".join(f" {c} " if _is_punctuation(c) else c for c in bare).split()


def _is_control(character: str) -> bool:
    category = unicodedata.category(character)  # Cn, not yet a character, stays: the next Unicode may make it a letter
    return character not in "\t\n\r" and category.startswith("C") and category != "Cn"


def _is_punctuation(character: str) -> bool:
    ascii_mark = character.isascii() and not character.isalnum() and character.isprintable() and character != " "
    return ascii_mark or unicodedata.category(character).startswith("P")


# What the steps above make of each ASCII character, and so of a text of them, all at once.
_ASCII = {
    code: " " if chr(code) in " \t\n\r" else "" if _is_control(chr(code)) else chr(code).lower() for code in range(128)
}
_ASCII |= {code: f" {chr(code)} " for code in range(128) if _is_punctuation(chr(code))}
