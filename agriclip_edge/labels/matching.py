"""Finds the class of the facts library that a label means, whatever its wording, spelling or language."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .facts import Facts

_SHOWN = 3  # of the classes that an ambiguous label fits
_LEAST_WORDS = 2  # of a name without its crop: one word alone ("spot") says too little
_TYPO_LENGTHS = ((6, 1), (10, 2))  # letters from which a word may differ by so many edits
# Words that join others, and those that say it is a photo: they change nothing about what is meant.
_FILLERS = frozenset(
    "a an the of with by on in from and to for at due showing affected infected infested photo picture image".split()
)
# One word of each pair is what the library says; British and American spelling are rules below.
_SAME = {
    "aluminum": "aluminium", "bhindi": "okra", "brinjal": "aubergine", "cacao": "cocoa", "center": "centre",
    "chile": "chili", "cilantro": "coriander", "corn": "maize", "eggplant": "aubergine", "fiber": "fibre",
    "garbanzo": "chickpea", "gray": "grey", "hog": "pig", "ladyfinger": "okra", "manioc": "cassava", "mold": "mould",
    "moldy": "mouldy", "paddy": "rice", "pawpaw": "papaya", "peanut": "groundnut", "plow": "plough",
    "rutabaga": "swede", "soya": "soybean", "soyabean": "soybean", "sulfur": "sulphur", "swine": "pig",
    "yuca": "cassava", "zucchini": "courgette",
}  # fmt: skip
_IRREGULAR = {"leaves": "leaf", "halves": "half", "calves": "calf", "loaves": "loaf", "geese": "goose", "mice": "mouse"}
_LETTERS = {"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ı": "i", "’": "", "'": ""}
_OUR = re.compile(r"(?<=[a-z]{2}[bdlmnrv])our(?=$|s$|ed$|ing$|less$)")


@dataclass(frozen=True)
class Match:
    """What a label was taken to mean.

    Attributes:
        label: as it was typed.
        facts: the class; None when there is none, or several.
        how: ``label``, ``other name``, ``scientific name``, ``name in es``, ``crop left out`` or ``near spelling``;
            empty without a class.
        fits: labels of the classes that it fits alike, when there are several.

    Example:
        >>> print(Match("steam locomotive", None))
        steam locomotive: no facts, its words alone
    """

    label: str
    facts: Facts | None
    how: str = ""
    fits: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for people."""
        if self.facts is not None:
            scientific = f" ({self.facts.scientific})" if self.facts.scientific else ""
            near = ", by a near spelling" if self.how == "near spelling" else ""
            return f"{self.label}: {self.facts.label}{scientific}{near}"
        if self.fits:
            more = f" and {len(self.fits) - _SHOWN} more" if len(self.fits) > _SHOWN else ""
            return f"{self.label}: its words alone; it fits {', '.join(self.fits[:_SHOWN])}{more}"
        return f"{self.label}: no facts, its words alone"


class Index:
    """Every wording of every class, in the form that labels are compared in."""

    def __init__(self, classes: Sequence[Facts]) -> None:
        """Index K classes."""
        self._classes = classes
        self._exact = {facts.label.casefold(): number for number, facts in enumerate(classes)}
        self._words: set[str] = set()
        own: dict[str, list[int]] = defaultdict(list)
        others: dict[str, list[int]] = defaultdict(list)
        scientific: dict[str, list[int]] = defaultdict(list)
        shorter: dict[str, list[int]] = defaultdict(list)
        languages: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, facts in enumerate(classes):
            left_out = set(normalise(facts.host))
            for tier, wordings in ((own, (facts.label,)), (others, facts.synonyms)):
                for tokens in map(self._tokens, wordings):
                    _put(tier, _keys(tokens), number)
                    rest = [token for token in tokens if token not in left_out]
                    if len(rest) < len(tokens) and len(set(rest)) >= _LEAST_WORDS:
                        _put(shorter, _keys(rest), number)
            if facts.scientific:
                _put(scientific, _keys(self._tokens(facts.scientific)), number)
            for language, words in facts.names.items():
                _put(languages[language], _keys(normalise(words)), number)
        self._tiers: list[tuple[str, dict[str, list[int]]]] = [("label", own), ("other name", others)]
        self._tiers += [("scientific name", scientific)]
        self._tiers += [(f"name in {language}", keys) for language, keys in sorted(languages.items())]
        self._tiers += [("crop left out", shorter)]

    def _tokens(self, words: str) -> list[str]:
        tokens = normalise(words)
        self._words.update(tokens)
        return tokens

    def find(self, label: str, is_word: Callable[[str], bool] = lambda word: False) -> Match:
        """The class that a label means.

        Wordings are compared without case, accents, hyphens, plural, filling words and order, and in one spelling.
        A label that fits several classes in the nearest way gets none of them. Words that are in no dictionary may be
        typing errors: one edit from six letters on, two from ten, the first letter kept.

        Args:
            label: words.
            is_word: tells a word of the language, which is no typing error, whatever it looks like.

        Example:
            >>> rust = Facts("maize leaf with common rust", "disease", "maize leaf disease", ("pustules",), ("cabi",))
            >>> Index([rust]).find("Common rust on corn leaves").how
            'label'
        """
        exact = self._exact.get(label.strip().casefold())
        if exact is not None:
            return Match(label, self._classes[exact], "label")
        wordings = [normalise(part) for part in _parts(label)]
        for tokens in wordings:
            how, found = self._look_up(tokens)
            if found:
                return self._match(label, how, found)
        for tokens in wordings:
            found = {number for near in self._corrected(tokens, is_word) for number in self._look_up(near)[1]}
            if found:
                return self._match(label, "near spelling", found)
        return Match(label, None)

    def _look_up(self, tokens: Sequence[str]) -> tuple[str, set[int]]:
        for how, keys in self._tiers:
            found = {number for key in _keys(tokens) for number in keys.get(key, ())}
            if found:
                return how, found
        return "", set()

    def _match(self, label: str, how: str, found: set[int]) -> Match:
        if len(found) == 1:
            return Match(label, self._classes[found.pop()], how)
        return Match(label, None, fits=tuple(self._classes[number].label for number in sorted(found)))

    def _corrected(self, tokens: Sequence[str], is_word: Callable[[str], bool]) -> Iterator[list[str]]:
        """The label with one of its words, that nobody knows, replaced by the nearest that the library has."""
        for place, token in enumerate(tokens):
            allowed = max((edits for length, edits in _TYPO_LENGTHS if len(token) >= length), default=0)
            if not allowed or token in self._words or is_word(token):
                continue
            near = [(edits(token, word, allowed), word) for word in self._words if word[0] == token[0]]
            least = min((count for count, _ in near), default=allowed + 1)
            if least <= allowed:
                for count, word in sorted(near):
                    if count == least:
                        yield [*tokens[:place], word, *tokens[place + 1 :]]


def normalise(text: str) -> list[str]:
    """Words in the form that they are compared in, without filling words.

    Example:
        >>> normalise("Grey-coloured molds on Chilli leaves")
        ['grey', 'colored', 'mould', 'chili', 'leaf']
    """
    return [word for typed in text.split() for word in _plain_words(typed)]


def edits(left: str, right: str, most: int) -> int:
    """Letters to insert, delete, replace, or swap with their neighbour (Damerau 1964); over ``most``, ``most + 1``.

    Example:
        >>> edits("septoria", "spetoria", 2), edits("rust", "smut", 1)
        (1, 2)
    """
    if abs(len(left) - len(right)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        last, before, row = before, row, [i]
        for j, b in enumerate(right, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and b == left[i - 2]:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


class _Plain(dict[int, str]):
    """What each character is compared as: worked out once, when it is first met."""

    def __missing__(self, code: int) -> str:
        letters = unicodedata.normalize("NFKD", _LETTERS.get(chr(code), chr(code)))
        # Accents go; the vowel signs of Indic scripts are no accents and have the combining class 0.
        kept = (c for c in letters if not unicodedata.combining(c))
        self[code] = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in kept)
        return self[code]


_PLAIN = _Plain()


@lru_cache(maxsize=1 << 15)  # the words of a library come again and again
def _plain_words(typed: str) -> tuple[str, ...]:
    """What stands between two spaces: ``grey-coloured`` is two words."""
    letters_alone = typed.isascii() and typed.isalnum()
    parts = [typed.lower()] if letters_alone else typed.casefold().translate(_PLAIN).split()
    return tuple([word for word in map(_word, parts) if word not in _FILLERS])


def _word(word: str) -> str:
    if not word.isascii():
        return word
    singular = _singular(word)
    word = _SAME.get(word) or _SAME.get(singular) or singular
    if "our" in word:
        word = _OUR.sub("or", word)
    return word.replace("ae", "e").replace("oe", "e").replace("ll", "l")


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 5:
        return word[:-3] + "y"
    if word.endswith(("oes", "ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1]


def _parts(label: str) -> list[str]:
    """The label; and without what stands in brackets, and that alone: ``frosty pod rot (Moniliophthora roreri)``."""
    inside = re.findall(r"\(([^()]+)\)", label)
    return [label, re.sub(r"\([^()]*\)", " ", label), *inside] if inside else [label]


def _keys(tokens: Sequence[str]) -> Sequence[str]:
    """Two forms: the words in any order, and all letters in their order (``leaf hopper`` is ``leafhopper``)."""
    if len(tokens) < 2:
        return tokens
    return " ".join(sorted(set(tokens))), "".join(tokens)


def _put(keys: dict[str, list[int]], names: Iterable[str], number: int) -> None:
    for name in names:
        keys[name].append(number)
