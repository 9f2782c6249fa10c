"""The hardware of a guest beyond its disks and NICs, as extra specs of its flavor and properties of its image say.

Where both speak of the same thing the flavor's word counts for its CPUs, and the image's for its devices, as in the
compute API. What contradicts itself is refused, not made to fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from floe.core.disks import DISK_BUSES, MOST_PER_SECOND, cdrom_bus, device_names
from floe.core.errors import Invalid
from floe.core.image_properties import hardware
from floe.core.nic_limits import limits_of
from floe.core.nics import VIF_MODELS
from floe.core.properties import YES

DISK_LIMITS = tuple(f"{way}_{unit}_sec" for unit in ("bytes", "iops") for way in ("total", "read", "write"))
"""Of `quota:disk_*`, as libvirt calls them too."""
MOST_QUEUES = 16
"""Of a NIC: each is an open file of the host, and threads of its kernel where it has vhost."""
LEAST_WITH_UEFI = 192
"""MiB of memory; with less OVMF hangs before it boots anything (measured)."""
NO_VIDEO, NO_USB, USB = "none", "none", "qemu-xhci"
_PARTS = ("sockets", "cores", "threads")
_VIDEO_WITH_MEMORY = "vga"


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """A guest's hardware; amounts of `limits` are for each disk, per second."""

    machine: str = "pc"
    uefi: bool = False
    topology: tuple[int, int, int] | None = None
    """Sockets, cores of each, threads of each; None: a socket for each vCPU."""
    scsi_model: str = "virtio-scsi"
    usb_model: str = NO_USB
    rng: bool = True
    rng_bytes: int = 0
    """What it may take of randomness in a period, 0 without a bound."""
    rng_period: int | None = None
    """In milliseconds."""
    watchdog: str | None = None
    video: str = NO_VIDEO
    video_mib: int = 0
    boot_menu: bool = False
    agent: bool = True
    hpet: bool | None = None
    windows: bool = False
    hidden: bool = False
    """Whether the guest is not told that KVM runs it."""
    limits: Mapping[str, int] = msgspec.field(default_factory=dict)


def hardware_of(
    specs: Mapping[str, str], properties: Mapping[str, str], vcpus: int, buses: Iterable[str] = ()
) -> Hardware:
    """Return the hardware of a guest. Raises Invalid for what does not go together.

    `buses` are those of its disks, where it has others than its image asks for.
    """
    chosen = hardware(properties)
    _check_root_name(properties)
    queues_of(specs, properties, vcpus)
    limits_of(specs)
    watchdog = properties.get("hw_watchdog_action") or specs.get("hw:watchdog_action")
    boot_menu = properties.get("hw_boot_menu") or specs.get("hw:boot_menu")
    hpet = properties.get("hw_time_hpet")
    rate, period = _number(specs, "hw_rng:rate_bytes"), specs.get("hw_rng:rate_period")
    if period is not None and not rate:
        raise Invalid("Extra spec hw_rng:rate_period means nothing without hw_rng:rate_bytes.")
    video, video_mib = _video(specs, properties)
    return Hardware(
        machine=chosen["hw_machine_type"],
        uefi=chosen["hw_firmware_type"] == "uefi",
        topology=_topology(specs, properties, vcpus),
        scsi_model=properties.get("hw_scsi_model") or "virtio-scsi",
        usb_model=_usb(specs, properties, {chosen["hw_disk_bus"], cdrom_bus(properties), *buses}),
        rng=_yes(specs.get("hw_rng:allowed"), default=True),
        rng_bytes=rate,
        rng_period=None if period is None else int(period),
        watchdog=None if watchdog in {None, "disabled"} else watchdog,
        video=video,
        video_mib=video_mib,
        boot_menu=_yes(boot_menu),
        agent=_yes(properties.get("hw_qemu_guest_agent"), default=True),
        hpet=_yes(hpet) if hpet else None,
        windows=properties.get("os_type") == "windows",
        hidden=any(
            _yes(value)
            for value in (
                *(specs.get("hw:hide_hypervisor_id"), specs.get("hide_hypervisor_id")),
                properties.get("img_hide_hypervisor_id"),
            )
        ),
        limits=_limits(specs),
    )


def check_memory(memory_mib: int, properties: Mapping[str, str]) -> None:
    """Raise Invalid for less memory than the firmware of a guest made of an image of these properties starts with."""
    if properties.get("hw_firmware_type") == "uefi" and memory_mib < LEAST_WITH_UEFI:
        raise Invalid(
            "Flavor's memory is too small for requested image: its property hw_firmware_type 'uefi' needs "
            f"{LEAST_WITH_UEFI} MiB to start, and the flavor has {memory_mib} MiB. Use a larger flavor."
        )


def queues_of(specs: Mapping[str, str], properties: Mapping[str, str], vcpus: int) -> int:
    """Return how many queues each NIC of a guest has. Raises Invalid for what does not go together."""
    flavor, image = specs.get("hw:vif_multiqueue_enabled"), properties.get("hw_vif_multiqueue_enabled")
    if flavor and image and _yes(flavor) != _yes(image):
        raise Invalid(
            f"Image property hw_vif_multiqueue_enabled is {image[:80]!r}, and the flavor's hw:vif_multiqueue_enabled "
            f"{flavor[:80]!r}: they must agree."
        )
    if not _yes(flavor or image):
        return 1
    model = properties.get("hw_vif_model") or VIF_MODELS[0]
    if model != VIF_MODELS[0]:
        raise Invalid(
            f"A NIC of hw_vif_model {model!r} has one queue; hw_vif_multiqueue_enabled and its flavor's like go "
            f"with {VIF_MODELS[0]!r} alone."
        )
    return min(vcpus, MOST_QUEUES)


def _topology(specs: Mapping[str, str], properties: Mapping[str, str], vcpus: int) -> tuple[int, int, int] | None:
    """Return the topology that has most sockets, then most cores, of those that are as asked."""
    wanted = [_number(specs, f"hw:cpu_{part}") or _number(properties, f"hw_cpu_{part}") for part in _PARTS]
    named = [(_number(specs, f"hw:cpu_max_{part}"), _number(properties, f"hw_cpu_max_{part}")) for part in _PARTS]
    most = [min((limit for limit in limits if limit), default=0) for limits in named]
    if not any(wanted) and not any(most):
        return None
    divisors = _divisors(vcpus)
    for sockets in reversed(divisors):
        for cores in reversed([each for each in divisors if vcpus // sockets % each == 0]):
            found = (sockets, cores, vcpus // sockets // cores)
            if all(
                (not want or part == want) and (not limit or part <= limit)
                for part, want, limit in zip(found, wanted, most, strict=True)
            ):
                return found
    asked = [f"{want} {part}" for want, part in zip(wanted, _PARTS, strict=True) if want]
    asked += [f"at most {limit} {part}" for limit, part in zip(most, _PARTS, strict=True) if limit]
    raise Invalid(
        f"The flavor's hw:cpu_* and the image's hw_cpu_* ask for {', '.join(asked)}, which {vcpus} vCPUs cannot have."
    )


def _divisors(number: int) -> list[int]:
    low = [each for each in range(1, int(number**0.5) + 1) if number % each == 0]
    return sorted({*low, *(number // each for each in low)})


def _video(specs: Mapping[str, str], properties: Mapping[str, str]) -> tuple[str, int]:
    model, asked = properties.get("hw_video_model") or NO_VIDEO, _number(properties, "hw_video_ram")
    most = _number(specs, "hw_video:ram_max_mb")
    if asked > most:
        raise Invalid(
            f"Image property hw_video_ram asks for {asked} MiB, and the flavor's hw_video:ram_max_mb allows {most}."
        )
    if asked and model != _VIDEO_WITH_MEMORY:
        raise Invalid(
            f"Image property hw_video_ram goes with hw_video_model {_VIDEO_WITH_MEMORY!r} alone (it is {model!r})."
        )
    return model, asked


def _usb(specs: Mapping[str, str], properties: Mapping[str, str], buses: set[str]) -> str:
    asked = properties.get("hw_usb_model") or specs.get("hw:usb_model")
    if "usb" in buses and asked == NO_USB:
        raise Invalid("Disks on the bus usb need a controller: hw_usb_model is 'none'.")
    return asked or (USB if "usb" in buses else NO_USB)


def _limits(specs: Mapping[str, str]) -> dict[str, int]:
    found = {name: amount for name in DISK_LIMITS if (amount := _number(specs, f"quota:disk_{name}"))}
    for unit in ("bytes", "iops"):
        if f"total_{unit}_sec" in found and found.keys() & {f"read_{unit}_sec", f"write_{unit}_sec"}:
            raise Invalid(
                f"Extra spec quota:disk_total_{unit}_sec does not go with quota:disk_read_{unit}_sec or "
                f"quota:disk_write_{unit}_sec: give the sum, or its parts."
            )
    if any(amount > MOST_PER_SECOND for amount in found.values()):
        raise Invalid(f"The most that an extra spec quota:disk_*_sec may be is {MOST_PER_SECOND}.")
    return found


def _check_root_name(properties: Mapping[str, str]) -> None:
    """Raise Invalid for a name of the root disk other than the one that it has on its bus."""
    named = properties.get("root_device_name") or properties.get("img_root_device_name")
    given = next(device_names(properties.get("hw_disk_bus") or DISK_BUSES[0]))
    if named and named.removeprefix("/dev/") != given:
        raise Invalid(
            f"Image property root_device_name names the root disk {named[:80]!r}; on its bus it is '/dev/{given}'."
        )


def _yes(text: str | None, *, default: bool = False) -> bool:
    return bool(re.fullmatch(YES, text)) if text else default


def _number(carried: Mapping[str, str], name: str) -> int:
    text = carried.get(name)
    return int(text) if text else 0
