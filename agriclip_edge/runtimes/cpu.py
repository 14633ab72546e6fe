"""What this CPU can do, read from the system and not guessed from its name."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

# By the names of Linux: what makes 8-bit and 16-bit products fast, or exact.
_X86_FLAGS = frozenset("avx2 avx512f avx512_vnni avx_vnni avx512_bf16 avx512_fp16 amx_int8 amx_bf16".split())
_ARM_FLAGS = frozenset("asimddp asimdhp i8mm bf16".split())
FLAGS = _X86_FLAGS | _ARM_FLAGS
_VNNI = frozenset(("avx512_vnni", "avx_vnni", "amx_int8"))
_BF16 = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
_X86 = ("x86_64", "amd64", "i386", "i686", "x86")
_ARM = ("aarch64", "arm")  # and what begins so: arm64, armv7l

# Apple: "Determining instruction set characteristics", and xnu's osfmk/i386/cpuid.c for Macs by Intel.
_MAC_ARM = {"FEAT_DotProd": "asimddp", "FEAT_FP16": "asimdhp", "FEAT_I8MM": "i8mm", "FEAT_BF16": "bf16"}
_MAC_X86 = {"AVX2": "avx2", "AVX512F": "avx512f", "AVX512VNNI": "avx512_vnni"}
# Microsoft: IsProcessorFeaturePresent. It knows nothing of VNNI, AMX and bf16 on x86.
_WINDOWS = {40: "avx2", 41: "avx512f", 43: "asimddp", 66: "i8mm", 67: "asimdhp", 68: "bf16"}


class Features(NamedTuple):
    """What the system says of its CPU.

    Attributes:
        present: flags that every core has, a subset of `FLAGS`.
        unknown: flags of this architecture that the system says nothing of.
    """

    present: frozenset[str]
    unknown: frozenset[str]


def cpu_flags() -> frozenset[str]:
    """Those of `FLAGS` that this CPU is known to have."""
    return features().present


@cache
def features() -> Features:
    """What this system says of its CPU; read once a process."""
    expected = _expected()
    try:
        if sys.platform == "win32":
            return _of_windows(_windows_has, expected)
        if sys.platform == "darwin":
            return parse_sysctl(_sysctl(), expected)
        return parse_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"), expected)
    except OSError:
        return Features(frozenset(), expected)


def parse_cpuinfo(text: str, expected: frozenset[str] = FLAGS) -> Features:
    """Features by Linux's ``/proc/cpuinfo``: what all cores have, since a thread may run on any.

    Args:
        text: the file.
        expected: flags of the architecture.

    Example:
        >>> sorted(parse_cpuinfo("Features : fp asimd asimddp i8mm").present)
        ['asimddp', 'i8mm']
    """
    cores = [
        frozenset(words.split())
        for name, colon, words in (line.partition(":") for line in text.splitlines())
        if colon and name.strip().lower() in ("flags", "features")
    ]
    if not cores:
        return Features(frozenset(), expected)
    return Features(frozenset.intersection(*cores) & expected, frozenset())


def parse_sysctl(text: str, expected: frozenset[str] = FLAGS) -> Features:
    """Features by macOS's ``sysctl hw.optional machdep.cpu``.

    Example:
        >>> sorted(parse_sysctl("hw.optional.arm.FEAT_DotProd: 1\\nhw.optional.arm.FEAT_I8MM: 0").present)
        ['asimddp']
    """
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    listed = " ".join(values.get(f"machdep.cpu.{name}", "") for name in ("features", "leaf7_features")).split()
    present = {flag for word, flag in _MAC_X86.items() if word in listed}
    present |= {flag for name, flag in _MAC_ARM.items() if values.get(f"hw.optional.arm.{name}") == "1"}
    said = {flag for name, flag in _MAC_ARM.items() if f"hw.optional.arm.{name}" in values}
    if listed:  # no Mac by Intel has the others: AVX-VNNI, bf16 and AMX came later
        said |= _X86_FLAGS
    return Features(frozenset(present) & expected, expected - said)


def _of_windows(has: Callable[[int], bool], expected: frozenset[str]) -> Features:
    present = frozenset(flag for number, flag in _WINDOWS.items() if has(number))
    # A Windows that is older than a number says no to it, so that only a yes says something.
    return Features(present & expected, expected - present)


def _windows_has(number: int) -> bool:
    import ctypes

    return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(number))  # type: ignore[attr-defined, unused-ignore]


def _sysctl() -> str:
    import subprocess

    command = ("/usr/sbin/sysctl", "hw.optional", "machdep.cpu")
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _expected() -> frozenset[str]:
    machine = platform.machine().lower()
    return _X86_FLAGS if machine in _X86 else _ARM_FLAGS if machine.startswith(_ARM) else frozenset()


def cpu_name() -> str:
    """The CPU's own name, or its architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith(("model name", "hardware"))]
    return names[0] if names else platform.processor() or platform.machine()


def why_not(precision: str, machine: str, here: Features) -> str | None:
    """Why a variant of this precision must not run on a CPU; None when it may.

    ``int8`` has unsigned activations and signed weights (U8S8). x86 before VNNI adds pairs of their products in 16
    bits, which overflow (Intel's `vpmaddubsw`): answers would be others than those that the gate judged. ARM and VNNI
    sum in 32 bits. ``int8-s8s8`` has both signed, which is fast by ARM's dot product and slower than float32 on x86.

    Args:
        precision: of the variant.
        machine: architecture, as ``platform.machine()`` says it.
        here: what the CPU can do.

    Example:
        >>> why_not("int8-s8s8", "x86_64", Features(frozenset({"avx512_vnni"}), frozenset()))
        'signed INT8 is for ARM'
    """
    x86 = machine.lower() in _X86
    if precision == "int8" and x86 and not here.present & _VNNI:
        if here.unknown & _VNNI:
            return "this system does not say whether the CPU has VNNI, without which INT8 sums overflow"
        return "this CPU has no VNNI, without which INT8 sums overflow"
    if precision == "int8-s8s8" and not machine.lower().startswith(_ARM):
        return "signed INT8 is for ARM"
    if precision == "bf16" and not here.present & _BF16:
        if here.unknown & _BF16:
            return "this system does not say whether the CPU computes in bf16"
        return "this CPU does not compute in bf16"
    return None
