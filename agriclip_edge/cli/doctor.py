"""``agriclip-edge doctor``: what this machine has, what is missing, and the exact line that installs it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .exits import DONE, WRONG_USE

EXAMPLES = """\b
Examples:
  agriclip-edge doctor
  agriclip-edge doctor --json"""

_LOW_DISK = 100 << 20  # bytes; a pack of 100,000 labels and a log fit


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> int:
    """Check this machine: runtimes, accelerators, versions, disk and the shipped bundle."""
    facts = _examine()
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for section in ("versions", "machine", "runtimes", "accelerators", "formats", "disk", "bundle"):
            typer.echo(section)
            for name, value in facts[section].items():
                typer.echo(f"  {name:<14} {', '.join(value) if isinstance(value, list) else value}")
        for line in facts["missing"] or ["nothing is missing"]:
            typer.echo(line)
    return DONE if facts["healthy"] else WRONG_USE


def _examine() -> dict[str, Any]:
    import platform
    import shutil
    from importlib.metadata import version
    from importlib.util import find_spec

    from ..errors import AgriclipError
    from ..files import home
    from ..runtimes import available_cores
    from ..runtimes.cpu import cpu_name, features
    from ..runtimes.cuda import device, has_nvidia_gpu
    from ..runtimes.tensorrt_api import version as tensorrt_version
    from .runlog import versions

    found, cpu = versions(), features()
    missing: list[str] = []
    runtimes: dict[str, Any] = {}
    healthy = True
    try:
        import onnxruntime

        providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
        runtimes["onnxruntime"] = [onnxruntime.__version__, *providers]
    except ImportError as error:
        healthy = False
        runtimes["onnxruntime"] = f"cannot be imported: {error}"
        missing.append("ONNX Runtime does not work here: pip install --force-reinstall onnxruntime")
    installed = find_spec("openvino") is not None
    runtimes["openvino"] = version("openvino") if installed else 'no: pip install "agriclip-edge[openvino]"'
    if has_nvidia_gpu():
        try:
            gpu = device()
            runtimes["tensorrt"] = [tensorrt_version(), gpu.name, f"compute capability {gpu.compute_capability}"]
        except AgriclipError as error:
            runtimes["tensorrt"] = "does not work here"
            missing.append(str(error))
    heif = find_spec("pillow_heif") is not None
    if not heif:
        missing.append('photos in HEIC (iPhone) cannot be read: pip install "agriclip-edge[heif]"')
    bundle: dict[str, Any] = {}
    try:
        from ..bundle.verify import verify_bundle

        for line in verify_bundle():
            part, said = line.split(None, 1)
            bundle.setdefault(part, []).append(said)
    except (AgriclipError, ImportError) as error:
        healthy = False
        bundle["broken"] = str(error)
        missing.append("the shipped bundle is broken: pip install --force-reinstall agriclip-edge")
    folder = home()
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if free < _LOW_DISK:
        missing.append(f"only {free / 1e6:.0f} MB are free at {existing}: make room")
    writable = os.access(existing, os.W_OK)
    if not writable:
        missing.append(f"{folder} cannot be written: set AGRICLIP_EDGE_HOME to a folder of yours")
    return {
        "versions": {name: value or "not installed" for name, value in found.items()},
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
            "cores": available_cores(),
            "memory": _memory(),
            "cpu": cpu_name(),
            "cpu features": sorted(cpu.present) or ["none that makes INT8 or 16-bit arithmetic fast"],
            **({"cpu not said": sorted(cpu.unknown)} if cpu.unknown else {}),
        },
        "runtimes": runtimes,
        "accelerators": _accelerators(),
        "formats": {"HEIC": "yes" if heif else "no (extra heif)", "AVIF": "yes" if _avif() else "no"},
        "disk": {"own packs": str(folder / "packs"), "free": f"{free / 1e9:.1f} GB", "writable": str(writable).lower()},
        "bundle": bundle,
        "missing": missing,
        "healthy": healthy,
    }


def _avif() -> bool:
    from PIL import features

    return bool(features.check("avif"))


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError, AttributeError):
        return "unknown"


def _accelerators() -> dict[str, str]:
    """Devices that could run an encoder; read from the kernel's files, nothing is started."""
    found: dict[str, str] = {}
    board = Path("/proc/device-tree/model")
    if board.is_file():
        found["board"] = board.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    for gpu in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = dict(line.split(":", 1) for line in gpu.read_text(errors="replace").splitlines() if ":" in line)
        found[f"NVIDIA {gpu.parent.name}"] = lines.get("Model", "unknown model").strip()
    for device in sorted(Path("/dev/dri").glob("renderD*")) + sorted(Path("/dev/accel").glob("accel*")):
        found[device.name] = str(device)
    return found or {"none": "the CPU does the work"}
