"""What a host can do, read out of libvirt's XML and the kernel's CPU flags: pure."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import msgspec

from floe.core.image_properties import UEFI_TRAIT

TRAIT_OF_FLAG = {
    "aes": "HW_CPU_X86_AESNI",
    "abm": "HW_CPU_X86_ABM",
    "avx": "HW_CPU_X86_AVX",
    "avx2": "HW_CPU_X86_AVX2",
    "avx512f": "HW_CPU_X86_AVX512F",
    "avx512bw": "HW_CPU_X86_AVX512BW",
    "avx512dq": "HW_CPU_X86_AVX512DQ",
    "avx512vl": "HW_CPU_X86_AVX512VL",
    "bmi1": "HW_CPU_X86_BMI",
    "bmi2": "HW_CPU_X86_BMI2",
    "f16c": "HW_CPU_X86_F16C",
    "fma": "HW_CPU_X86_FMA3",
    "mmx": "HW_CPU_X86_MMX",
    "pclmulqdq": "HW_CPU_X86_CLMUL",
    "pni": "HW_CPU_X86_SSE3",
    "sha_ni": "HW_CPU_X86_SHA",
    "sse": "HW_CPU_X86_SSE",
    "sse2": "HW_CPU_X86_SSE2",
    "sse4_1": "HW_CPU_X86_SSE41",
    "sse4_2": "HW_CPU_X86_SSE42",
    "ssse3": "HW_CPU_X86_SSSE3",
    "svm": "HW_CPU_X86_SVM",
    "vmx": "HW_CPU_X86_VMX",
}
"""Flags of /proc/cpuinfo and the names that `os-traits` gives them."""

EMULATED_FLAGS = frozenset({"mmx", "sse", "sse2", "pni"})
"""What QEMU's default CPU (qemu64) shows a guest under emulation, whatever the host has."""

_ALWAYS = (
    "COMPUTE_IMAGE_TYPE_QCOW2",
    "COMPUTE_IMAGE_TYPE_RAW",
    "COMPUTE_NET_VIF_MODEL_E1000",
    "COMPUTE_NET_VIF_MODEL_E1000E",
    "COMPUTE_NET_VIF_MODEL_RTL8139",
    "COMPUTE_NET_VIF_MODEL_VIRTIO",
    "COMPUTE_STORAGE_BUS_IDE",
    "COMPUTE_STORAGE_BUS_SATA",
    "COMPUTE_STORAGE_BUS_SCSI",
    "COMPUTE_STORAGE_BUS_USB",
    "COMPUTE_STORAGE_BUS_VIRTIO",
    "HW_ARCH_X86_64",
)


class HostCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Of `virsh capabilities`: the CPU, and which kinds of domain the x86_64 emulator runs."""

    arch: str = ""
    model: str = ""
    vendor: str = ""
    topology: tuple[int, int, int] = (1, 1, 1)
    """Sockets, cores, threads."""
    domain_types: frozenset[str] = frozenset()
    emulator: str = ""


def parse(capabilities: str) -> HostCapabilities:
    """Read libvirt's capabilities XML; what is missing there is left empty."""
    root = ET.fromstring(capabilities)  # noqa: S314  # libvirt's own output, not a tenant's
    cpu = root.find("host/cpu")
    topology = cpu.find("topology") if cpu is not None else None
    types: set[str] = set()
    emulator = ""
    for guest in root.findall("guest"):
        arch = guest.find("arch")
        if guest.findtext("os_type") == "hvm" and arch is not None and arch.get("name") == "x86_64":
            types |= {domain.get("type", "") for domain in arch.findall("domain")}
            emulator = arch.findtext("emulator") or emulator
    return HostCapabilities(
        arch=(cpu.findtext("arch") or "") if cpu is not None else "",
        model=(cpu.findtext("model") or "") if cpu is not None else "",
        vendor=(cpu.findtext("vendor") or "") if cpu is not None else "",
        topology=(
            (1, 1, 1)
            if topology is None
            else (
                int(topology.get("sockets", "1")),
                int(topology.get("cores", "1")),
                int(topology.get("threads", "1")),
            )
        ),
        domain_types=frozenset(types),
        emulator=emulator,
    )


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """Return the flags of the first CPU in the text of /proc/cpuinfo."""
    line = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(line.group(1).split()) if line else frozenset()


def memory_mib(meminfo: str) -> int:
    """Return the host's memory from the text of /proc/meminfo.

    libvirt's own figure comes from the NUMA nodes of /sys and was seen to show a sixth of it in a VM.
    """
    line = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(line.group(1)) // 1024 if line else 0


def kvm_usable(flags: frozenset[str], device: bool, domain_types: frozenset[str]) -> bool:
    """Say whether guests may run under KVM.

    The device alone proves nothing: where the CPU shows neither vmx nor svm, /dev/kvm may exist and a guest
    then hangs for ever.
    """
    return device and "kvm" in domain_types and bool(flags & {"vmx", "svm"})


def traits(flags: frozenset[str], *, kvm: bool, uefi: bool) -> tuple[str, ...]:
    """Return the traits of a host, sorted; under emulation the guest's CPU counts, not the host's."""
    shown = flags if kvm else EMULATED_FLAGS
    firmware = {UEFI_TRAIT} if uefi else set()
    return tuple(sorted({*_ALWAYS, *firmware, *(trait for flag, trait in TRAIT_OF_FLAG.items() if flag in shown)}))
