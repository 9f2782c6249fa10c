"""`floe doctor`: is this machine fit to be a host?

`look` asks the machine and returns plain data; `diagnose` turns such data into findings and is pure.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.util
import json
import os
import pwd
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from floe.cli import confinement, kvm, nic_limits, outside
from floe.cli.confinement import Confinement
from floe.cli.findings import Finding, Level
from floe.cli.outside import Outside
from floe.cli.state_directory import Loose, loose_ends
from floe.cli.state_option import add_state_arguments, chosen_settings
from floe.hypervisors.libvirt import firmware
from floe.settings import Settings

PROGRAMS = {
    "qemu-system-x86_64": ("QEMU, which runs the guests", "qemu-system-x86"),
    "qemu-img": ("makes the guests' disks", "qemu-utils"),
    "cp": ("copies disks, holes and all", "coreutils"),
    "prlimit": ("keeps the reading of images within bounds", "util-linux"),
    "setpriv": ("has images read by users without rights", "util-linux"),
    "unshare": ("has images read without a network", "util-linux"),
    "mkfs.ext4": ("formats ephemeral disks", "e2fsprogs"),
    "mkfs.vfat": ("formats those that are to be of DOS", "dosfstools"),
    "mkswap": ("formats swap disks", "util-linux"),
    "dnsmasq": ("DHCP and DNS for the guests", "dnsmasq-base"),
    "nft": ("security groups and anti-spoofing", "nftables"),
    "ip": ("bridges, taps and namespaces", "iproute2"),
    "nsenter": ("starts DHCP servers in their namespaces", "util-linux"),
}
DRIVER_NAME = "libvirt_driver_qemu.so"
ENOUGH_DISK = 10 << 30
ENOUGH_MEMORY = 1 << 30
OLDEST_CLOCK = 1_735_689_600  # 2025-01-01: certificates and tokens of a clock before this are nonsense


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What `diagnose` needs to know of a machine. Sizes are in bytes, -1 where unknown."""

    root: bool
    kvm: kvm.Kvm
    programs: dict[str, str | None]
    """Name of each program of PROGRAMS, and where it is."""
    libvirt_binding: str
    """Version of the Python binding; empty if it cannot be imported."""
    libvirt_driver: bool
    libvirt_daemon: bool
    uefi: bool
    """Whether guests can have it."""
    nic_limits: bool | None
    """Whether the kernel can limit what they send and receive; None where it could not be asked."""
    libvirt_account: bool
    """Whether there is the user libvirt-qemu, without whom libvirt's driver does not start."""
    confinement: Confinement
    outside: Outside
    bridge_filter: bool
    namespaces: bool
    state: Path
    loose: Sequence[Loose]
    """By what others could reach what is in the state directory."""
    disk_path: str
    disk_free: int
    memory_available: int
    clock: float
    clock_synchronised: bool | None


def diagnose(machine: Machine) -> list[Finding]:
    """Return the findings on a machine, in the order in which to mend them."""
    return [
        _root(machine),
        _kvm(machine.kvm, closed=machine.confinement.kvm_closed),
        *(_program(name, path) for name, path in machine.programs.items()),
        *_libvirt(machine),
        _uefi(machine),
        nic_limits.finding(machine.nic_limits),
        confinement.finding(machine.confinement, root=machine.root, libvirtd=machine.libvirt_daemon),
        _kernel(
            "namespaces",
            machine.namespaces,
            "the kernel has network, mount and UTS namespaces",
            "the kernel has no network, mount or UTS namespaces",
            "use a kernel with CONFIG_NET_NS and CONFIG_UTS_NS",
        ),
        _kernel(
            "br_netfilter",
            machine.bridge_filter,
            "frames between guests pass the security groups",
            "frames between guests would pass no security group",
            "modprobe br_netfilter; echo br_netfilter > /etc/modules-load.d/floe.conf",
        ),
        *outside.findings(machine.outside),
        *_state(machine),
        _disk(machine),
        _memory(machine),
        _clock(machine),
    ]


def fit(findings: Iterable[Finding]) -> bool:
    """Say whether nothing that is needed is missing."""
    return all(finding.level is not Level.MISSING for finding in findings)


def _root(machine: Machine) -> Finding:
    if machine.root:
        return Finding(name="root", level=Level.OK, what="runs as root")
    return Finding(
        name="root",
        level=Level.MISSING,
        what="does not run as root, which bridges, taps and namespaces need",
        remedy="run floe up (and this command) with sudo",
    )


def _kvm(found: kvm.Kvm, *, closed: bool) -> Finding:
    if found.usable and closed:
        return Finding(
            name="kvm",
            level=Level.WARN,
            what="/dev/kvm is for root alone: guests, who are users of their own, are emulated unless with --sandbox",
            remedy="chgrp kvm /dev/kvm && chmod 660 /dev/kvm",
        )
    if found.usable:
        return Finding(name="kvm", level=Level.OK, what=f"usable ({found.flag})")
    if not found.flag:
        trap = "/dev/kvm is there, but " if found.device else ""
        return Finding(
            name="kvm",
            level=Level.WARN,
            what=f"{trap}the processor shows neither vmx nor svm: guests are emulated, which is many times slower",
            remedy="enable virtualisation in the firmware, or nested virtualisation on the outer machine",
        )
    if not found.device:
        return Finding(
            name="kvm",
            level=Level.WARN,
            what=f"the processor has {found.flag}, but there is no /dev/kvm: guests are emulated",
            remedy=f"modprobe {'kvm_intel' if found.flag == 'vmx' else 'kvm_amd'}",
        )
    return Finding(
        name="kvm", level=Level.WARN, what="/dev/kvm may not be opened by this user", remedy="run floe up as root"
    )


def _program(name: str, path: str | None) -> Finding:
    purpose, package = PROGRAMS[name]
    if path is None:
        return Finding(
            name=name, level=Level.MISSING, what=f"not found ({purpose})", remedy=f"apt-get install {package}"
        )
    return Finding(name=name, level=Level.OK, what=path)


def _libvirt(machine: Machine) -> list[Finding]:
    if machine.libvirt_binding:
        binding = Finding(name="libvirt binding", level=Level.OK, what=f"version {machine.libvirt_binding}")
    else:
        binding = Finding(
            name="libvirt binding",
            level=Level.MISSING,
            what="the Python module libvirt cannot be imported",
            remedy="pip install 'floe-cloud[libvirt]' (needs gcc, pkg-config, python3-dev, libvirt-dev), "
            "or apt-get install python3-libvirt and a venv with --system-site-packages",
        )
    if not machine.libvirt_driver:
        driver = Finding(
            name="libvirt driver",
            level=Level.MISSING,
            what=f"{DRIVER_NAME} was not found",
            remedy="apt-get install libvirt-daemon libvirt-daemon-driver-qemu",
        )
    elif machine.libvirt_daemon:
        driver = Finding(name="libvirt driver", level=Level.OK, what="a libvirtd runs: qemu:///system")
    elif not machine.libvirt_account:
        driver = Finding(
            name="libvirt driver",
            level=Level.WARN,
            what="no libvirtd runs, and there is no user libvirt-qemu: used embedded, with --sandbox only",
            remedy="apt-get install libvirt-daemon-system",
        )
    else:
        driver = Finding(
            name="libvirt driver", level=Level.OK, what="no libvirtd runs: used embedded, which needs none"
        )
    return [binding, driver]


def _uefi(machine: Machine) -> Finding:
    if machine.uefi:
        return Finding(name="uefi", level=Level.OK, what="guests can have it")
    return Finding(
        name="uefi",
        level=Level.WARN,
        what="no UEFI for guests was found: images with hw_firmware_type=uefi do not run here",
        remedy="apt-get install ovmf",
    )


def _kernel(name: str, there: bool, good: str, bad: str, remedy: str) -> Finding:
    if there:
        return Finding(name=name, level=Level.OK, what=good)
    return Finding(name=name, level=Level.MISSING, what=bad, remedy=remedy)


def _state(machine: Machine) -> list[Finding]:
    if not machine.loose:
        return [Finding(name="state directory", level=Level.OK, what=f"{machine.state} is closed to others")]
    return [
        Finding(name="state directory", level=Level.MISSING, what=each.what, remedy=each.remedy)
        for each in machine.loose
    ]


def _disk(machine: Machine) -> Finding:
    what = f"{_gib(machine.disk_free)} free at {machine.disk_path}"
    if machine.disk_free >= ENOUGH_DISK:
        return Finding(name="disk", level=Level.OK, what=what)
    return Finding(
        name="disk",
        level=Level.WARN,
        what=what,
        remedy=f"free some, or put --state where there is {_gib(ENOUGH_DISK)} or more",
    )


def _memory(machine: Machine) -> Finding:
    what = f"{_gib(machine.memory_available)} available"
    if machine.memory_available >= ENOUGH_MEMORY:
        return Finding(name="memory", level=Level.OK, what=what)
    return Finding(
        name="memory", level=Level.WARN, what=what, remedy="a guest needs its own memory and about 100 MiB more"
    )


def _clock(machine: Machine) -> Finding:
    year = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(machine.clock))
    if machine.clock < OLDEST_CLOCK:
        return Finding(
            name="clock", level=Level.MISSING, what=f"it says {year}", remedy="set it: date -u -s '...', then use NTP"
        )
    if machine.clock_synchronised is False:
        return Finding(
            name="clock",
            level=Level.WARN,
            what=f"{year}, not kept by NTP; several machines must agree on it",
            remedy="apt-get install systemd-timesyncd or chrony",
        )
    return Finding(name="clock", level=Level.OK, what=year)


def _gib(size: int) -> str:
    return "an unknown amount" if size < 0 else f"{size / (1 << 30):.1f} GiB"


def look(settings: Settings) -> Machine:
    """Ask this machine. Nothing is changed, and nothing goes on running."""
    state_dir, guest_uids = settings.state.absolute(), settings.guest_uids()
    place = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    return Machine(
        root=os.geteuid() == 0,
        kvm=kvm.look(),
        programs={name: shutil.which(name, path=_search_path()) for name in PROGRAMS},
        libvirt_binding=_binding(),
        libvirt_driver=any(
            Path(root).glob(f"*/libvirt/connection-driver/{DRIVER_NAME}") for root in ("/usr/lib", "/usr/lib64/..")
        ),
        libvirt_daemon=any(Path(f"/run/libvirt/{name}-sock").exists() for name in ("libvirt", "virtqemud")),
        uefi=firmware.there(),
        nic_limits=nic_limits.look(),
        libvirt_account=_has_account("libvirt-qemu"),
        confinement=confinement.look(state_dir, guest_uids),
        outside=outside.look(settings),
        bridge_filter=_bridge_filter(),
        namespaces=all(Path(f"/proc/self/ns/{kind}").exists() for kind in ("net", "mnt", "uts")),
        state=state_dir,
        loose=loose_ends(state_dir),
        disk_path=str(place),
        disk_free=shutil.disk_usage(place).free,
        memory_available=_memory_available(),
        clock=time.time(),
        clock_synchronised=_clock_synchronised(),
    )


def _search_path() -> str:
    # Programs for the administrator may be outside an ordinary user's PATH.
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _binding() -> str:
    if importlib.util.find_spec("libvirt") is None:
        return ""
    try:
        version = int(importlib.import_module("libvirt").getVersion())
    except (ImportError, OSError):
        return ""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def _has_account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _bridge_filter() -> bool:
    if Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        return True
    # Not loaded yet, but there to be loaded when it is needed.
    modules = Path("/lib/modules") / os.uname().release
    index = modules / "modules.dep"
    return index.exists() and "/br_netfilter.ko" in index.read_text()


def _memory_available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return -1


def _clock_synchronised() -> bool | None:
    """Ask the kernel whether something keeps its clock; None if it does not say."""
    # adjtimex(2) with modes 0 reads only; STA_UNSYNC is 0x40 in `status`, an int after four longs and `modes`.
    buffer = (ctypes.c_long * 64)()
    try:
        result = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(buffer))
    except AttributeError:
        return None
    if result < 0:
        return None
    long = ctypes.sizeof(ctypes.c_long)
    status = ctypes.c_int.from_buffer(buffer, long * 5).value
    return not status & 0x40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the findings; the status is 1 if something needed is missing."""
    chosen = chosen_settings(args)
    findings = diagnose(look(chosen))
    good = fit(findings)
    if args.json:
        print(json.dumps({"fit": good, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _print(findings, good)
    return 0 if good else 1


def _print(findings: Sequence[Finding], good: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("", "", "finding", "remedy"):
        table.add_column(heading, overflow="fold")
    colours = {Level.OK: "green", Level.WARN: "yellow", Level.MISSING: "red"}
    for finding in findings:
        style = colours[finding.level]
        table.add_row(f"[{style}]{finding.level}[/]", finding.name, finding.what, finding.remedy)
    console = Console()
    console.print(table)
    console.print("This machine can be a host." if good else "[red]This machine lacks what a host needs.[/]")
