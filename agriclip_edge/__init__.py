"""Name what an agricultural photo shows, on the device that took it, with no network.

    >>> import agriclip_edge
    >>> classifier = agriclip_edge.load()
    >>> classifier.classify("examples/photos/cow.jpg").best.label
    'cow'

Importing this package loads nothing heavy: numpy, Pillow and the runtime come with the first `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .answer import Answer as Answer
    from .answer import Prediction as Prediction
    from .answer import Timing as Timing
    from .answer import Verdict as Verdict
    from .bundle.reader import Bundle as Bundle
    from .classifier import Classifier as Classifier
    from .classifier import load as load
    from .errors import AgriclipError as AgriclipError
    from .errors import BundleError as BundleError
    from .errors import BundleFault as BundleFault
    from .errors import LabelError as LabelError
    from .errors import PhotoError as PhotoError
    from .errors import RuntimeUnavailable as RuntimeUnavailable
    from .errors import UsageError as UsageError
    from .labels.pack import Label as Label
    from .labels.pack import LabelPack as LabelPack

_HOME = {
    "Answer": "answer",
    "Prediction": "answer",
    "Timing": "answer",
    "Verdict": "answer",
    "Bundle": "bundle.reader",
    "Classifier": "classifier",
    "load": "classifier",
    "AgriclipError": "errors",
    "BundleError": "errors",
    "BundleFault": "errors",
    "LabelError": "errors",
    "PhotoError": "errors",
    "RuntimeUnavailable": "errors",
    "UsageError": "errors",
    "Label": "labels.pack",
    "LabelPack": "labels.pack",
}

__all__ = ["__version__", *_HOME]  # the names are strings; ruff cannot see it


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
