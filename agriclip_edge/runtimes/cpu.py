"""What this CPU can do, read from the kernel and not guessed from its name."""

from __future__ import annotations

import platform
from pathlib import Path

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16")
_X86 = ("x86_64", "amd64", "i386", "i686")


def cpu_flags() -> frozenset[str]:
    """Those of `FLAGS` that this CPU has; empty where the system does not say (macOS, Windows)."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return frozenset()
    return frozenset(FLAGS) & frozenset(words)


def cpu_name() -> str:
    """The CPU's own name, or its architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith(("model name", "hardware"))]
    return names[0] if names else platform.processor() or platform.machine()


def int8_is_exact() -> bool:
    """Whether products of unsigned activations and signed weights are summed without saturation.

    x86 before VNNI adds pairs of them in 16 bits, which overflow (Intel's `vpmaddubsw`): an INT8 encoder would give
    other answers there than those that its gate judged. ARM and VNNI sum in 32 bits.
    """
    if platform.machine().lower() not in _X86:
        return True
    return bool(cpu_flags() & {"avx512_vnni", "avx_vnni", "amx_int8"})
