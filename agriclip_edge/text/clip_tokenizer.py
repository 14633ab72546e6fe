"""CLIP's byte-pair tokenizer, tested for equality against open_clip's ``SimpleTokenizer``."""

from __future__ import annotations

import html
import itertools
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from html.entities import html5

from ..errors import BundleError, BundleFault

START, END = "<start_of_text>", "<end_of_text>"
_LAST = "</w>"  # the end of a word, written behind its last piece
_REMEMBERED = 1 << 14  # words whose pieces are kept: prompts of one pack share most of theirs

# Texts were mended before CLIP was trained on them, by the package ftfy; so are ours, but for the repair of text that
# was decoded by a wrong encoding ("maÃ¯s"), a table of heuristics longer than all of this.
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_TERMINAL = re.compile(r"\x1b\[[\d;]*[a-zA-Z]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LIGATURES = "ĲĳŉǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬅﬆ"
_PARTS = "IJ ij ʼn DZ Dz dz DŽ Dž dž LJ Lj lj NJ Nj nj ff fi fl ffi ffl ſt st".split()
_FULL_WIDTH = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in (0x3000, *range(0xFF01, 0xFFF0))}
_QUOTES = {**dict.fromkeys("\u02bc\u2018\u2019\u201a\u201b", "'"), **dict.fromkeys("\u201c\u201d\u201e\u201f", '"')}
_WINDOWS = {chr(code): bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)}
_PLAIN = str.maketrans({**dict(zip(_LIGATURES, _PARTS)), **_FULL_WIDTH, **_QUOTES, **_WINDOWS})
_CONTROL = {*range(9), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)}
_NO_CONTROL = dict.fromkeys(_CONTROL)

_WHOLE = re.compile(f"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d", re.IGNORECASE)


class ClipBpe:
    """Turns a text into token ids (Radford et al. 2021, section 2.4; byte pairs: Sennrich et al. 2016).

    Attributes:
        pad: the id behind the end of a text that is shorter than others.
        ids: by token, in the order of the ids.

    Example:
        >>> tokenizer = ClipBpe("l e\\nle a\\nlea f</w>\\n".encode())
        >>> tokenizer.encode("Leaf")
        [515, 514, 516]
    """

    pad = 0

    def __init__(self, vocabulary: bytes) -> None:
        """Read the merges: one a line, two pieces with a space between them, the first merge first.

        The ids are those of the 256 bytes, of the 256 bytes that end a word, of the merges, of start and end of text.

        Raises:
            BundleError: not UTF-8, a line that is no merge of known pieces, or a merge twice.
        """
        try:
            lines = vocabulary.decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise BundleError(BundleFault.VOCABULARY_INVALID, f"the vocabulary is not UTF-8: {error.reason}") from None
        self._bytes = _byte_letters()
        tokens = [*self._bytes.values(), *(letter + _LAST for letter in self._bytes.values())]
        known = set(tokens)
        self._ranks: dict[tuple[str, str], int] = {}
        for number, line in enumerate(lines):
            pieces = line.removesuffix("\r").split(" ")
            if len(pieces) != 2 or not known.issuperset(pieces):
                found = f"the vocabulary's line {number + 1} is {line[:40]!r}; accepted: two known pieces"
                raise BundleError(BundleFault.VOCABULARY_INVALID, found)
            tokens.append("".join(pieces))
            known.add(tokens[-1])
            self._ranks[pieces[0], pieces[1]] = number
        if len(self._ranks) != len(lines):
            raise BundleError(BundleFault.VOCABULARY_INVALID, "the vocabulary holds a merge twice")
        tokens += [START, END]
        self.ids = {token: number for number, token in enumerate(tokens)}
        self._known_pieces = lru_cache(maxsize=_REMEMBERED)(self._pieces)

    def __len__(self) -> int:
        """How many ids there are: one more than the largest, which ends every text."""
        return 2 * len(self._bytes) + len(self._ranks) + 2

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, from start to end of text; as long as it comes, neither cut nor padded."""
        ids = [self.ids[START]]
        for word in _words(clean(text)):
            ids.extend(self._known_pieces(word))
        return [*ids, self.ids[END]]

    def _pieces(self, word: str) -> tuple[int, ...]:
        """Join the pair of neighbours that was learnt first, wherever it is, until no pair was learnt."""
        if word in (START, END):
            return (self.ids[word],)
        pieces = [self._bytes[byte] for byte in word.encode("utf-8")]
        pieces[-1] += _LAST
        while len(pieces) > 1:
            pairs = set(itertools.pairwise(pieces))
            first, second = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if (first, second) not in self._ranks:
                break
            joined: list[str] = []
            for piece in pieces:
                if piece == second and joined and joined[-1] == first:
                    joined[-1] = first + second
                else:
                    joined.append(piece)
            pieces = joined
        return tuple(self.ids[piece] for piece in pieces)


def clean(text: str) -> str:
    """A text as CLIP's were cleaned: mended, one space between words, lower case."""
    before = None
    while text != before:
        before = text
        if "<" not in text:  # text with tags is HTML, whose entities are meant
            text = _ENTITY.sub(_character, text)
        text = text.translate(_PLAIN)
        if _SURROGATE.search(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = _TERMINAL.sub("", text).translate(_NO_CONTROL)
        text = unicodedata.normalize("NFC", text)
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


def _character(entity: re.Match[str]) -> str:
    """What an HTML entity stands for, also one whose name was put in capitals; itself when that is not certain."""
    whole, name = entity[0], entity[0][1:]
    if name.startswith("#"):
        decoded = html.unescape(whole)
        return whole if ";" in decoded else decoded
    if name in html5:
        return html5[name]
    if name == name.upper() and html.unescape(whole) == whole:
        return html5.get(name.lower(), whole).upper()
    return whole


def _words(text: str) -> Iterator[str]:
    """Words, single digits, runs of other marks, and the English endings that begin with an apostrophe."""
    start = 0
    while start < len(text):
        whole = _WHOLE.match(text, start)
        kind = _kind(text[start])
        end = whole.end() if whole else start + 1
        if not whole and kind in "LO":
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != " ":
            yield text[start:end]
        start = end


def _kind(character: str) -> str:
    """L for a letter, N for a number, a space, O for any other character."""
    category = unicodedata.category(character)[0]
    if character.isspace() or character == "\u0345":  # a mark whose capital is a letter: open_clip's pattern drops it
        return " "
    return category if category in "LN" else "O"


def _byte_letters() -> dict[int, str]:
    """A printable letter for each byte: itself where it is one in Latin-1, else one from 256 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + place) for place, byte in enumerate(others)}}
