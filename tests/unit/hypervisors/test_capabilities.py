"""What a host can do, from libvirt's XML and the kernel's texts."""

from __future__ import annotations

import pytest

from floe.core.guests import PowerState
from floe.hypervisors.libvirt import capabilities
from floe.hypervisors.libvirt.connection import embed_root, failure
from floe.hypervisors.libvirt.events import state_after, state_of

CAPABILITIES = """
<capabilities>
  <host>
    <cpu><arch>x86_64</arch><model>Broadwell</model><vendor>Intel</vendor>
      <topology sockets='1' dies='1' cores='2' threads='2'/></cpu>
  </host>
  <guest><os_type>hvm</os_type><arch name='i686'><emulator>/usr/bin/qemu-system-i386</emulator>
    <domain type='xen'/></arch></guest>
  <guest><os_type>hvm</os_type><arch name='x86_64'><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <domain type='qemu'/><domain type='kvm'/></arch></guest>
</capabilities>
"""


def test_the_capabilities_of_the_x86_64_emulator_are_read() -> None:
    host = capabilities.parse(CAPABILITIES)
    assert (host.arch, host.model, host.vendor, host.topology) == ("x86_64", "Broadwell", "Intel", (1, 2, 2))
    assert host.domain_types == {"qemu", "kvm"}
    assert host.emulator == "/usr/bin/qemu-system-x86_64"


def test_a_host_without_qemu_has_no_domain_types() -> None:
    assert capabilities.parse("<capabilities><host/></capabilities>").domain_types == frozenset()


@pytest.mark.parametrize(
    ("flags", "device", "types", "usable"),
    [
        ("sse vmx", True, {"kvm"}, True),
        ("sse svm", True, {"kvm"}, True),
        ("sse", True, {"kvm"}, False),
        ("sse vmx", False, {"kvm"}, False),
        ("sse vmx", True, {"qemu"}, False),
    ],
)
def test_kvm_counts_only_with_flags_device_and_domain_type(
    flags: str, device: bool, types: set[str], usable: bool
) -> None:
    found = capabilities.cpu_flags(f"processor\t: 0\nflags\t\t: {flags}\nflags\t\t: vmx of another cpu\n")
    assert capabilities.kvm_usable(found, device, frozenset(types)) is usable


def test_an_emulated_cpu_has_the_traits_of_qemu_and_not_of_the_host() -> None:
    host = frozenset({"avx2", "sse2"})
    assert "HW_CPU_X86_AVX2" in capabilities.traits(host, kvm=True, uefi=False)
    assert "HW_CPU_X86_AVX2" not in capabilities.traits(host, kvm=False, uefi=False)
    assert "HW_CPU_X86_SSE2" in capabilities.traits(frozenset(), kvm=False, uefi=False)


def test_a_host_with_uefi_says_so() -> None:
    assert "CUSTOM_FIRMWARE_UEFI" in capabilities.traits(frozenset(), kvm=False, uefi=True)
    assert "CUSTOM_FIRMWARE_UEFI" not in capabilities.traits(frozenset(), kvm=False, uefi=False)


def test_memory_is_read_in_mib() -> None:
    assert capabilities.memory_mib("MemTotal:       24684096 kB\nMemFree: 1 kB\n") == 24105


def test_a_failure_shows_qemus_last_line_and_keeps_the_whole() -> None:
    text = (
        "internal error: process exited while connecting to monitor: 2030-01-01 qemu-system-x86_64: warning: x\n"
        "2030-01-01T00:00:00.0Z qemu-system-x86_64: -blockdev {...}: Could not open '/x': No such file\n"
    )
    error = failure(text)
    assert error.message == "The guest could not be run: -blockdev {...}: Could not open '/x': No such file"
    assert error.detail == text
    assert error.stage == "guest"


def test_the_root_of_an_embedded_driver_is_read_from_its_uri() -> None:
    assert str(embed_root("qemu:///embed?root=/srv/a%20b")) == "/srv/a b"
    assert embed_root("qemu:///system") is None


def test_states_and_events_agree() -> None:
    assert state_of(5) is state_after(5) is PowerState.SHUTDOWN
    assert state_of(1) is state_after(2) is PowerState.RUNNING
    assert state_after(0) is None
    assert state_of(99) is PowerState.NOSTATE
