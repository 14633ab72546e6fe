"""What is said of a scene's classes, as vectors of the text encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError

TEMPLATE = "a multispectral and lidar view of {}"  # what is said of any class, known or not
TEXTS = Path(__file__).parents[1] / "facts" / "scenes.toml"

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]  # texts to unit vectors (N, D)


class ClassText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a ground cover.

    Attributes:
        label: its name in a scene.
        structure: how it stands and how high.
        spectrum: what light it reflects.
        scientific: name of the species, or "".
        also: further names.
        habitat: where it grows or lies, or "".
    """

    label: str
    structure: str
    spectrum: str
    scientific: str = ""
    also: tuple[str, ...] = ()
    habitat: str = ""

    def sentences(self) -> list[str]:
        """All that is said of it, a sentence each."""
        name = f"{self.label} ({self.scientific})" if self.scientific else self.label
        said = [TEMPLATE.replace("{}", name), f"{name}: {self.structure}", f"{name}: {self.spectrum}"]
        said += [f"{name}, {self.habitat}"] if self.habitat else []
        return said + [f"a view of {other} from above" for other in self.also]


def read_class_texts(path: Path = TEXTS) -> dict[str, ClassText]:
    """Class texts by name in lower case, further names among them.

    Raises:
        UsageError: the file cannot be read, or says a name twice.
    """
    try:
        classes = msgspec.toml.decode(path.read_bytes(), type=dict[str, list[ClassText]])["class"]
    except (OSError, KeyError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} cannot be read as class texts: {error}") from None
    found: dict[str, ClassText] = {}
    for text in classes:
        if text.label.lower() in found:
            raise UsageError(f"{path} holds {text.label!r} twice")
        found[text.label.lower()] = text
    for text in classes:
        for other in text.also:
            found.setdefault(other.lower(), text)
    return found


def class_vectors(classes: Sequence[str], embed: Embed, texts: dict[str, ClassText]) -> Vectors:
    """Unit vectors float32 (K, D): the mean over what is said of a class, less the mean over all classes.

    Sentences of one kind lie close together in such an encoder; what tells classes apart is what is left without
    their mean. A class that nothing is known of goes by its name.

    Args:
        classes: K names, in any case.
        embed: the text encoder.
        texts: from `read_class_texts`.
    """
    means = class_means(classes, embed, texts)
    centred = means - text_centre(means)
    unit: Vectors = (centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)).astype(np.float32)
    return unit


def class_means(classes: Sequence[str], embed: Embed, texts: dict[str, ClassText]) -> Vectors:
    """The mean over what is said of each class, float32 (K, D); see `class_vectors`."""
    sentences = []
    for name in classes:
        known = texts.get(name.lower())
        sentences.append(known.sentences() if known else [TEMPLATE.replace("{}", name)])
    vectors = embed([sentence for own in sentences for sentence in own])
    ends = np.cumsum([len(own) for own in sentences])
    return np.stack([part.mean(axis=0) for part in np.split(vectors, ends[:-1])])


def text_centre(means: Vectors) -> Vectors:
    """What is taken off the means (K, D) of classes, (D,): their mean; nothing where there is one class alone."""
    centre: Vectors = means.mean(axis=0) if len(means) > 1 else np.zeros_like(means[0])
    return centre
