"""TensorRT's Python module: found, loaded when first needed, and made to keep its errors for our own messages."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import RuntimeUnavailable

# TensorRT-RTX has the same API under other names; its wheels parse and build without a GPU.
_NAMES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
_JETSON = Path("/etc/nv_tegra_release")


def version() -> str:
    """Product and version, "tensorrt 10.3.0".

    Raises:
        RuntimeUnavailable: TensorRT is not installed, with the line that installs it.
    """
    trt = api()
    return f"{trt.__name__.removesuffix('_bindings')} {trt.__version__}"


@cache
def api() -> Any:
    """The module.

    Raises:
        RuntimeUnavailable: it is not installed, with the line that installs it, or does not load.
    """
    for name in _NAMES:
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError) as error:  # the module is there, a library of it is not
            raise RuntimeUnavailable(f"{name} does not load: {one_line(str(error))}") from None
        if not hasattr(found.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
            raise RuntimeUnavailable(f"{name} is {found.__version__}; accepted: 10.0 or newer (JetPack 6 or newer)")
        return found
    if _JETSON.exists():
        line = "sudo apt install python3-libnvinfer (seen by a virtual environment made with --system-site-packages)"
    else:
        line = "pip install tensorrt cuda-python"
    raise RuntimeUnavailable(f"TensorRT is not installed: {line}")


@cache
def log() -> Any:
    """The one logger of this process; TensorRT keeps the first that it is given."""
    trt = api()

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]  # TensorRT has no types
        """Keeps errors for our messages; TensorRT's own would print them, many lines a failure."""

        def __init__(self) -> None:
            super().__init__()
            self._heard: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self._heard.append(message)

        @contextmanager
        def listening(self) -> Iterator[list[str]]:
            heard: list[str] = []
            self._heard = heard
            yield heard

    return Log()


def one_line(text: str) -> str:
    """Words of TensorRT without line breaks, and not too many of them."""
    return " ".join(text.split())[:300]
