"""What can be judged: a training run, a shipped bundle, or any open_clip model, all behind the same few values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB
from agriclip_edge.imaging.preprocess import preprocessing_id
from agriclip_edge.labels.prompts import Embedder

from ..config import EncoderConfig

if TYPE_CHECKING:
    from ..image_tower import ImageTower
    from ..text_tower import TextTower

Vectors = npt.NDArray[np.float32]  # (N, D), of length 1

_PROMPTS = 64  # a batch of texts
_CLIP = ("a photo of a {}.",)  # CLIP's own template (Radford et al. 2021, section 3.1.4)


@dataclass(frozen=True)
class Subject:
    """An encoder of photos with the encoder of texts that it shares a space with.

    Attributes:
        name: for people.
        model: sha256 of the image encoder's weights, and of how they are run.
        text_encoder: sha256 of the text encoder; "" where there is none and photos are but looked at.
        preprocessing: id of what happens to a photo before the image encoder.
        templates: prompts with one ``{}`` that it was made with.
        trained_on: names of the collections that it was trained on, as far as it says so itself.
        embed: upright RGB uint8 (H, W, 3) of N photos to unit vectors float32 (N, D).
        embed_texts: N prompts to unit vectors float32 (N, D).
        symptoms: share of what facts say is seen in the labels that it was trained with; above 0 it embeds prompts of
            the form ``facts: <label>`` too.
        tower: what ``embed`` runs, for those who train it further; None where it is no image tower of training.
    """

    name: str
    model: str
    text_encoder: str
    preprocessing: str
    templates: tuple[str, ...]
    trained_on: tuple[str, ...]
    embed: Callable[[Sequence[RGB]], Vectors]
    embed_texts: Callable[[Sequence[str]], Vectors]
    symptoms: float = 0.0
    tower: ImageTower | None = None


def run_subject(run: Path, text: Embedder, text_sha256: str) -> Subject:
    """A training run's model.

    Args:
        run: folder of the run.
        text: the text encoder that it was trained against.
        text_sha256: names that encoder.

    Raises:
        UsageError: the folder holds no finished epoch.
    """
    from ..encoder import MODEL, load_tower
    from ..fit import embedder
    from ..looks import WORDLESS, Wide
    from ..symptoms import with_codes

    tower, description = load_tower(run)
    if "target" in description:  # made by alignment: it names the text tower that it belongs to
        from ..align.artefact import load_aligned
        from ..text_tower import TextTower

        if not isinstance(text, TextTower):
            raise UsageError(f"{run} was aligned to a text tower of training; accepted: that one")
        tower, description = load_aligned(run, text)
    config, wordless = description["config"], bool(description.get(WORDLESS))
    size, symptoms = int(config["input_size"]), float(config.get("symptoms", 0))

    embed_texts = text.embed if tower.words is None else Wide(text, tower.words).embed

    def no_texts(prompts: Sequence[str]) -> Vectors:
        raise UsageError(f"{run} says how photos look; it has no words")

    return Subject(
        name=run.name,
        model=hashlib.sha256((run / MODEL).read_bytes()).hexdigest(),
        text_encoder="" if wordless else text_sha256,
        preprocessing=preprocessing_id(size),
        templates=tuple(config["templates"]),
        trained_on=(str(description["collection"]),) if "collection" in description else (),
        embed=embedder(tower, size),
        embed_texts=no_texts if wordless else with_codes(embed_texts, text, symptoms, tower.words),
        symptoms=symptoms,
        tower=tower,
    )


def clip_subject(run: Path) -> Subject:
    """A contrastive run's model, which carries its own text tower.

    Raises:
        UsageError: the folder holds none.
    """
    from ..checkpoint import read_checkpoint
    from ..contrastive.model import load

    clip, (_, description) = load(run), read_checkpoint(run / "model.safetensors")
    return Subject(
        name=run.name,
        model=clip.space("image"),
        text_encoder=clip.space("text"),
        preprocessing=preprocessing_id(clip.size),
        templates=_CLIP,
        trained_on=(str(description["collection"]),) if "collection" in description else (),
        embed=clip.embed_photos,
        embed_texts=clip.embed,
    )


def bundle_subject(path: Path | None, variant: str | None = None) -> Subject:
    """A bundle as a device would run it.

    Args:
        path: folder or zip; None takes the bundle that ships.
        variant: name of one of its image encoders, or of a runtime; None takes the fastest that runs here.

    Raises:
        BundleError: the bundle is broken.
        RuntimeUnavailable: the variant cannot run here.
        UsageError: the bundle has no such variant.
    """
    from agriclip_edge.bundle.reader import Bundle
    from agriclip_edge.classifier import Classifier
    from agriclip_edge.text.encoder import TextEncoder

    bundle = Bundle.open(path)
    text = TextEncoder(bundle)
    classifier = Classifier(bundle, bundle.pack(bundle.manifest.packs[0].name), runtime=variant, text_encoder=text)
    return Subject(
        name=f"{bundle.manifest.name} {bundle.manifest.version} {classifier.variant}",
        model=hashlib.sha256(f"{bundle.sha256}\n{classifier.variant}".encode()).hexdigest(),
        text_encoder=bundle.text_encoder_id,
        preprocessing=bundle.preprocessing_id,
        templates=text.templates,
        trained_on=(),
        embed=lambda photos: classifier.embed(list(photos)),
        embed_texts=text.embed,
    )


def start_subject(text: TextTower, text_sha256: str, size: int) -> Subject:
    """The encoder that there is before any training: ConSE, ImageNet's classifier with its classes' names as words.

    Args:
        text: the text tower.
        text_sha256: names it.
        size: side of the photos in pixels.
    """
    from ..align.encoders import default_encoder
    from ..fit import embed_all

    encoder = default_encoder(text, size)

    def embed(photos: Sequence[RGB]) -> Vectors:
        vectors: Vectors = encoder.project(embed_all(encoder.backbone.features, photos, size)).numpy()
        return vectors

    return Subject(
        name="imagenet",
        model=encoder.space.image,
        text_encoder=text_sha256,
        preprocessing=preprocessing_id(size),
        templates=EncoderConfig().templates,
        trained_on=(),
        embed=embed,
        embed_texts=text.embed,
    )


def open_clip_subject(name: str, pretrained: str | None) -> Subject:
    """Any open_clip model, on a GPU where there is one.

    Args:
        name: of the model, as ``open_clip.list_models()`` has it.
        pretrained: tag or file of its weights; None leaves them random, for tests.

    Raises:
        UsageError: open_clip does not know the name or the weights.
    """
    import open_clip
    import torch
    from PIL import Image

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model, _, transform = open_clip.create_model_and_transforms(name, pretrained=pretrained, device=device)
        tokenizer = open_clip.get_tokenizer(name)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0][:300]
        raise UsageError(f"open_clip cannot make {name!r} with weights {pretrained!r}: {reason}") from None
    model.eval()

    @torch.inference_mode()
    def embed(photos: Sequence[RGB]) -> Vectors:
        images = torch.stack([transform(Image.fromarray(rgb)) for rgb in photos])
        return _unit(model.encode_image(images.to(device)))

    @torch.inference_mode()
    def embed_texts(prompts: Sequence[str]) -> Vectors:
        parts = []
        for start in range(0, len(prompts), _PROMPTS):
            tokens = tokenizer(list(prompts[start : start + _PROMPTS]))
            parts.append(_unit(model.encode_text(tokens.to(device))))
        return np.concatenate(parts)

    weights = model.state_dict()
    seen = {key: value for key, value in weights.items() if key.startswith("visual.")}
    return Subject(
        name=f"open_clip {name} {pretrained}",
        model=_tensors_sha256(seen),
        text_encoder=_tensors_sha256({key: value for key, value in weights.items() if key not in seen}),
        preprocessing=hashlib.sha256(repr(transform).encode()).hexdigest(),
        templates=_CLIP,
        trained_on=(),
        embed=embed,
        embed_texts=embed_texts,
    )


def text_sha256(folder: Path) -> str:
    """Names a text model by its files (`training.text_tower.TextTower` reads these)."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def _tensors_sha256(tensors: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def _unit(vectors: Any) -> Vectors:
    from torch.nn import functional

    unit: Vectors = functional.normalize(vectors.float(), dim=-1).cpu().numpy()
    return unit
