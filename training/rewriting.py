"""Captions in other words, by any OpenAI-compatible endpoint; text that says more than the facts is refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agriclip_edge.errors import AgriclipError, UsageError
from agriclip_edge.files import atomic_write
from agriclip_edge.labels.facts import Facts

from .captions import captions

FORMAT = "agriclip-captions/1"
KEY = "OPENAI_API_KEY"  # sent where it is set; local servers want none
PROMPT = """Say the following caption of a photo in other words, in one sentence of at most 20 words. Keep its meaning.
Add nothing that it does not say: no colour, shape, place, number, cause or name of your own. Answer with that sentence
alone.

Caption: {caption}"""
_MOST_WORDS = 30
_TIMEOUT = 60.0  # seconds a request
_MAX_ANSWER = 1 << 20  # bytes
# What a sentence may hold beside the words of the facts: none of these says anything of what is seen.
_NEUTRAL = frozenset(
    """a about across along also an and any appear appearing appears are as at be bear bearing bears been between
    both by can cause caused causes clear clearly close close-up closeup cover covered covering covers depict
    depicted depicting depicts detail develop developed develops display displayed displaying displays each
    feature featured features featuring field for form formed forming forms found from has have having here
    image in into is it its itself look looking looks mark marked marks near of on one onto or over photo
    photograph picture present presenting presents reveal revealing reveals scene see seen several shot show
    showing shown shows sign signs some something such than that the their them there these they this those
    through to under up upon view visible where which while whose with within""".split()
)


class EndpointError(AgriclipError):
    """The endpoint did not answer as an OpenAI-compatible one does: the message says what it said."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One caption and what became of it.

    Attributes:
        label: of the class.
        caption: as the grammar made it.
        answer: of the model.
        refused: the words that the facts do not have, or why else; empty when the answer stands.
    """

    label: str
    caption: str
    answer: str
    refused: str = ""


class Rewritten(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of rewritten captions.

    Attributes:
        format: of the file.
        model: that was asked.
        prompt: that it was asked with, ``{caption}`` for the caption.
        seed: of the captions and of the model.
        entries: in the order of the classes.
    """

    format: str
    model: str
    prompt: str
    seed: int
    entries: tuple[Entry, ...]

    def by_label(self) -> dict[str, tuple[str, ...]]:
        """The answers that stand, by label."""
        found: dict[str, dict[str, None]] = {}
        for entry in self.entries:
            if not entry.refused:
                found.setdefault(entry.label, {})[entry.answer] = None
        return {label: tuple(answers) for label, answers in found.items()}


@dataclass(frozen=True)
class Endpoint:
    """Where to ask.

    Attributes:
        url: its root, as in ``http://localhost:8000/v1``.
        model: a name that it knows.
        key: sent as a bearer token where it is not empty.
    """

    url: str
    model: str
    key: str = field(default_factory=lambda: os.environ.get(KEY, ""), repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        if not re.match(r"https?://[^\s/]", self.url):
            raise UsageError(f"--endpoint {self.url!r}; accepted: an address as in http://localhost:8000/v1")

    def ask(self, prompt: str, seed: int) -> str:
        """The answer to one prompt, by ``POST /chat/completions``.

        Raises:
            EndpointError: no answer, or none in that form.
        """
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "seed": seed}
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
                answer = json.loads(response.read(_MAX_ANSWER))["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            said = " ".join(error.read(300).decode("utf-8", "replace").split())
            raise EndpointError(f"{self.url} answered {error.code}: {said}") from None
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            reason = getattr(error, "reason", None) or error
            raise EndpointError(f"{self.url} gave no answer of the OpenAI form: {reason}") from None
        if not isinstance(answer, str):
            raise EndpointError(f"{self.url} gave no text")
        return " ".join(answer.split()).strip("\"'“”")


def complaint(answer: str, facts: Facts) -> str:
    """The words of a sentence that its class's facts do not have, or why else it is refused; empty when it stands.

    A word stands when the facts have it in any of its endings, or when it says nothing of what is seen.

    Example:
        >>> rust = Facts("bean leaf with rust", "disease", "bean leaf disease", ("orange powdery spots",), ("cabi",))
        >>> complaint("A bean leaf that shows powdery orange spotting", rust)
        ''
        >>> complaint("A bean leaf with 12 purple spots", rust)
        '12, purple'
    """
    words = re.findall(r"[^\W_]+(?:-[^\W_]+)*", answer.casefold())
    if not words:
        return "empty"
    if len(words) > _MOST_WORDS:
        return f"{len(words)} words"
    lists = (facts.visible, facts.synonyms, facts.colour, facts.shape, facts.texture, facts.place)
    single = (facts.label, facts.parent, facts.host, facts.organ, facts.scientific, facts.extent)
    known = {
        _stem(part)
        for text in (*single, *(word for words in lists for word in words))
        for part in re.findall(r"[^\W_]+", text.casefold())
    }
    unknown = [
        word
        for word in dict.fromkeys(words)
        if word not in _NEUTRAL and not all(part in _NEUTRAL or _stem(part) in known for part in word.split("-"))
    ]
    return ", ".join(unknown)


def _stem(word: str) -> str:
    """A word without its ending: enough to know spots, spotted and spotting for one."""
    for ending in ("iness", "ness", "ing", "ish", "ed", "es", "ly", "s", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def rewrite(
    classes: Sequence[Facts],
    number: int,
    seed: int,
    endpoint: Endpoint,
    output: Path,
    progress: Callable[[int, int, str], None],
) -> Rewritten:
    """Rewrite captions of classes, or go on where ``output`` was left: what was asked before is not asked again.

    Args:
        classes: with facts.
        number: of captions a class.
        seed: of the captions and of the model.
        endpoint: that is asked.
        output: JSON file; a ``.cache`` beside it keeps each answer by the hash of model, prompt, seed and caption.
        progress: is told captions done, captions in all, and the class.

    Raises:
        EndpointError: it does not answer; what was answered before is kept.
        UsageError: the cache is broken.
    """
    cache_path = output.with_name(output.name + ".cache")
    cache = _read_cache(cache_path)
    asked = [(facts, caption) for facts in classes for caption in captions(facts, number, seed)]
    entries = []
    cache_path.parent.mkdir(parents=True, exist_ok=True)
    with open(cache_path, "a", encoding="utf-8") as file:
        for done, (facts, caption) in enumerate(asked):
            progress(done, len(asked), facts.label)
            key = hashlib.sha256(json.dumps([endpoint.model, PROMPT, seed, caption]).encode()).hexdigest()
            if key not in cache:
                cache[key] = endpoint.ask(PROMPT.format(caption=caption), seed)
                file.write(json.dumps({"key": key, "answer": cache[key]}) + "\n")
                file.flush()
            entries.append(Entry(facts.label, caption, cache[key], complaint(cache[key], facts)))
    progress(len(asked), len(asked), "done")
    found = Rewritten(FORMAT, endpoint.model, PROMPT, seed, tuple(entries))
    with atomic_write(output) as written:
        written.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return found


def read_rewritten(path: Path) -> Rewritten:
    """Read a file of rewritten captions.

    Raises:
        UsageError: it is missing, broken or of another form.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Rewritten)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is no file of rewritten captions: {error}") from None
    if found.format != FORMAT:
        raise UsageError(f"{path} is of the form {found.format!r}; accepted: {FORMAT}")
    return found


def _read_cache(path: Path) -> dict[str, str]:
    """Answers by key; a last line that was cut off is left out."""
    found: dict[str, str] = {}
    if not path.exists():
        return found
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            entry: Mapping[str, str] = json.loads(line)
            found[str(entry["key"])] = str(entry["answer"])
        except (ValueError, KeyError, TypeError):
            if number < len(lines) - 1:
                raise UsageError(f"{path}: line {number + 1} is broken; delete the file to ask again") from None
    if lines[-1]:  # the next answer begins a line of its own
        path.write_text("".join(line + "\n" for line in lines[:-1]), encoding="utf-8")
    return found
