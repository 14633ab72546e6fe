"""CPU features as real machines say them, and which variants they allow."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest

from agriclip_edge.runtimes.cpu import (
    FLAGS,
    Features,
    _of_windows,
    cpu_flags,
    cpu_name,
    features,
    parse_cpuinfo,
    parse_sysctl,
    why_not,
)

SAPPHIRE_RAPIDS = """processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 143
model name	: Intel(R) Xeon(R) Processor
flags		: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss ht \
syscall nx pdpe1gb rdtscp lm constant_tsc rep_good nopl xtopology nonstop_tsc cpuid pni pclmulqdq ssse3 fma cx16 pcid \
sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand hypervisor lahf_lm abm bmi1 avx2 smep bmi2 erms invpcid \
avx512f avx512dq rdseed adx smap avx512ifma clflushopt clwb avx512cd sha_ni avx512bw avx512vl xsaveopt xsavec xgetbv1 \
xsaves avx_vnni avx512_bf16 wbnoinvd arat avx512vbmi umip pku ospke avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni \
avx512_bitalg avx512_vpopcntdq rdpid cldemote movdiri movdir64b fsrm md_clear serialize tsxldtrk ibt amx_bf16 \
avx512_fp16 amx_tile amx_int8 flush_l1d arch_capabilities
vmx flags	: vnmi preemption_timer avx512_mentioned_elsewhere
bugs		: spectre_v1 spectre_v2
"""
HASWELL = """processor	: 0
model name	: Intel(R) Core(TM) i5-4590 CPU @ 3.30GHz
flags		: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush dts acpi mmx fxsr sse \
sse2 ss ht tm pbe syscall nx pdpe1gb rdtscp lm constant_tsc arch_perfmon pebs bts rep_good nopl xtopology nonstop_tsc \
cpuid aperfmperf pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 sdbg fma cx16 xtpr pdcm pcid sse4_1 sse4_2 \
x2apic movbe popcnt aes xsave avx f16c rdrand lahf_lm abm cpuid_fault epb pti fsgsbase tsc_adjust bmi1 avx2 smep \
bmi2 erms
"""
RASPBERRY_PI_4 = """processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU part	: 0xd08

Hardware	: BCM2835
Model		: Raspberry Pi 4 Model B Rev 1.4
"""
RASPBERRY_PI_5 = """processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

Model		: Raspberry Pi 5 Model B Rev 1.0
"""
JETSON_ORIN = """processor	: 0
model name	: ARMv8 Processor rev 1 (v8l)
BogoMIPS	: 62.50
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat \
ilrcpc flagm paca pacg
CPU implementer	: 0x41
CPU part	: 0xd42
"""
GRAVITON_3 = """processor	: 0
BogoMIPS	: 2100.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop \
sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs paca pacg dcpodp svei8mm svebf16 i8mm bf16 dgh rng
CPU implementer	: 0x41
CPU part	: 0xd40
"""
M2 = """hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_FP16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
hw.optional.arm64: 1
machdep.cpu.brand_string: Apple M2
"""
M1 = M2.replace("FEAT_BF16: 1", "FEAT_BF16: 0").replace("FEAT_I8MM: 1", "FEAT_I8MM: 0")
MAC_BY_INTEL = """hw.optional.avx2_0: 1
machdep.cpu.features: FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT AVX1.0 RDRAND F16C
machdep.cpu.leaf7_features: RDWRFSGS TSC_THREAD_OFFSET SGX BMI1 AVX2 FDPEO SMEP BMI2 ERMS INVPCID AVX512F AVX512VNNI
machdep.cpu.brand_string: Intel(R) Core(TM) i7-1068NG7 CPU @ 2.30GHz
"""

LINUX = {
    "Sapphire Rapids": (
        SAPPHIRE_RAPIDS,
        "avx2 avx512f avx512_vnni avx_vnni avx512_bf16 avx512_fp16 amx_int8 amx_bf16",
    ),
    "Haswell": (HASWELL, "avx2"),
    "Raspberry Pi 4": (RASPBERRY_PI_4, ""),
    "Raspberry Pi 5": (RASPBERRY_PI_5, "asimddp asimdhp"),
    "Jetson Orin": (JETSON_ORIN, "asimddp asimdhp"),
    "Graviton 3": (GRAVITON_3, "asimddp asimdhp i8mm bf16"),
}
MACS = {
    "M1": (M1, "asimddp asimdhp"),
    "M2": (M2, "asimddp asimdhp i8mm bf16"),
    "Intel": (MAC_BY_INTEL, "avx2 avx512f avx512_vnni"),
}


@pytest.mark.parametrize(("text", "flags"), LINUX.values(), ids=list(LINUX))
def test_linux(text: str, flags: str) -> None:
    assert parse_cpuinfo(text) == Features(frozenset(flags.split()), frozenset())


def test_only_what_every_core_has_counts() -> None:
    """A thread may move to the smaller core of such a pair."""
    assert parse_cpuinfo(RASPBERRY_PI_5 + "\n" + RASPBERRY_PI_4).present == frozenset()
    assert parse_cpuinfo(GRAVITON_3 + "\n" + JETSON_ORIN).present == {"asimddp", "asimdhp"}


@pytest.mark.parametrize("text", ["", "processor : 0\n", "\0\xff", "flags"])
def test_a_file_that_says_nothing_leaves_all_unknown(text: str) -> None:
    assert parse_cpuinfo(text) == Features(frozenset(), FLAGS)


@pytest.mark.parametrize(("text", "flags"), MACS.values(), ids=list(MACS))
def test_macs(text: str, flags: str) -> None:
    found = parse_sysctl(text)
    assert found.present == set(flags.split())
    assert not found.unknown & {"asimddp", "i8mm"} if "arm64" in text else not found.unknown & {"avx512_vnni"}


def test_a_mac_that_says_nothing_leaves_all_unknown() -> None:
    assert parse_sysctl("sysctl: unknown oid") == Features(frozenset(), FLAGS)


def test_windows_says_yes_or_nothing() -> None:
    arm = frozenset(("asimddp", "asimdhp", "i8mm", "bf16"))
    assert _of_windows(lambda number: number == 43, arm) == Features(frozenset({"asimddp"}), arm - {"asimddp"})
    x86 = frozenset(("avx2", "avx512f", "avx512_vnni"))
    assert _of_windows(lambda number: number in (40, 41), x86).unknown == {"avx512_vnni"}


NO_VNNI = "this CPU has no VNNI, without which INT8 sums overflow"
UNKNOWN_VNNI = "this system does not say whether the CPU has VNNI, without which INT8 sums overflow"
NO_BF16 = "this CPU does not compute in bf16"
UNKNOWN_BF16 = "this system does not say whether the CPU computes in bf16"
SILENT = Features(frozenset(), FLAGS)
RULES: dict[str, tuple[str, str, Features, str | None]] = {
    "U8S8 with VNNI": ("int8", "x86_64", parse_cpuinfo(SAPPHIRE_RAPIDS), None),
    "U8S8 on an old x86": ("int8", "AMD64", parse_cpuinfo(HASWELL), NO_VNNI),
    "U8S8 on Windows": ("int8", "AMD64", SILENT, UNKNOWN_VNNI),
    "U8S8 on a Mac by Intel": ("int8", "x86_64", parse_sysctl(MAC_BY_INTEL), None),
    "U8S8 on ARM": ("int8", "aarch64", parse_cpuinfo(RASPBERRY_PI_4), None),
    "S8S8 with VNNI": ("int8-s8s8", "x86_64", parse_cpuinfo(SAPPHIRE_RAPIDS), "signed INT8 is for ARM"),
    "S8S8 on a Pi 5": ("int8-s8s8", "aarch64", parse_cpuinfo(RASPBERRY_PI_5), None),
    "S8S8 on a Mac": ("int8-s8s8", "arm64", parse_sysctl(M2), None),
    "S8S8 on an old ARM": ("int8-s8s8", "armv7l", SILENT, None),
    "bf16 with AMX": ("bf16", "x86_64", parse_cpuinfo(SAPPHIRE_RAPIDS), None),
    "bf16 on an old x86": ("bf16", "x86_64", parse_cpuinfo(HASWELL), NO_BF16),
    "bf16 on Graviton 3": ("bf16", "aarch64", parse_cpuinfo(GRAVITON_3), None),
    "bf16 on Orin": ("bf16", "aarch64", parse_cpuinfo(JETSON_ORIN), NO_BF16),
    "bf16 on Windows": ("bf16", "AMD64", SILENT, UNKNOWN_BF16),
    "float": ("fp16-weights", "riscv64", SILENT, None),
}


@pytest.mark.parametrize(("precision", "machine", "here", "reason"), RULES.values(), ids=list(RULES))
def test_what_a_cpu_may_run(precision: str, machine: str, here: Features, reason: str | None) -> None:
    assert why_not(precision, machine, here) == reason


def test_this_cpu_says_what_it_is(cli: Any) -> None:
    assert cpu_name()
    assert cpu_flags() == features().present <= FLAGS
    said = cli("doctor", "--json").json["machine"]
    assert said["architecture"] == platform.machine()
    for flag in features().present:
        assert flag in said["cpu features"]
    assert said.get("cpu not said", []) == sorted(features().unknown)
    if Path("/proc/cpuinfo").exists() and platform.machine() in ("x86_64", "aarch64"):
        assert not features().unknown
