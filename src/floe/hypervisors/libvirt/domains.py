"""The power of domains: blocking calls of libvirt, which `LibvirtConnection.ask` runs.

Each may be repeated: a domain that is as it is to be stays so.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from floe.core.errors import HostFailure
from floe.hypervisors.libvirt.connection import SUSPENDED, bindings, quiet, state_number

SAVE_DIR = Path("/var/lib/libvirt/qemu")
"""Where a system's libvirtd keeps the memory of suspended domains, in `save`."""

_MORE_THAN_MEMORY = 64 * 1024 * 1024
"""Bytes that the file of a domain's memory may be larger than that."""

_AGENT_SECONDS = 2
"""For which an agent is waited for to say that it is there, and then, in vain, for an answer to what ends its guest."""


def find(conn: Any, uuid: str, namespace: str) -> tuple[int, str] | None:
    """Return the `virDomainState` of a domain and our metadata as it was started with, None if there is none."""
    domain = quiet(conn.lookupByUUIDString, uuid)
    number = None if domain is None else quiet(state_number, domain)
    if domain is None or number is None:
        return None
    return number, str(quiet(domain.metadata, bindings().VIR_DOMAIN_METADATA_ELEMENT, namespace) or "")


def start(conn: Any, uuid: str, name: str, xml: Callable[[str], str]) -> int:
    """Define a domain and start it unless it runs; return its `virDomainState`. `xml` is given its name.

    That is another one where a domain has it that is none of ours, or that the cloud knows nothing of any more.
    """
    libvirt = bindings()
    try:
        domain = conn.defineXML(xml(name))
    except libvirt.libvirtError:
        free = _free(conn, uuid, name)
        if free == name:
            raise
        domain = conn.defineXML(xml(free))
    if not domain.isActive():
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_FORCE_BOOT)  # not from memory that was kept
    return state_number(domain)


def _free(conn: Any, uuid: str, name: str) -> str:
    """Return the name that a domain has, or one that it may have."""
    domain, other = quiet(conn.lookupByUUIDString, uuid), quiet(conn.lookupByName, name)
    if domain is not None:
        return str(domain.name())
    return name if other is None else f"{name}-{uuid[:8]}"


def press_button(conn: Any, uuid: str) -> None:
    """Press the power button, and wait for nothing."""
    domain, libvirt = conn.lookupByUUIDString(uuid), bindings()
    if domain.isActive():
        button = libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        quiet(domain.shutdownFlags, button, ignore=libvirt.VIR_ERR_OPERATION_INVALID)


def tell_agent(conn: Any, uuid: str) -> None:
    """Ask the guest's agent to shut it down, where one speaks; it is not waited for long.

    By default libvirt asks the agent alone, if there is one, and waits a minute for it.
    """
    domain = conn.lookupByUUIDString(uuid)
    if domain.isActive():
        _ask_agent(domain, '{"execute": "guest-shutdown"}')


def end(conn: Any, uuid: str) -> None:
    """Turn a domain off, and forget its memory."""
    domain = conn.lookupByUUIDString(uuid)
    _turn_off(domain)
    if domain.hasManagedSaveImage():
        domain.managedSaveRemove()


def remove(conn: Any, uuid: str) -> str | None:
    """End a domain and forget it with all that libvirt keeps of it; return its name, None if there was none."""
    libvirt, domain = bindings(), quiet(conn.lookupByUUIDString, uuid)
    if domain is None:
        return None
    name = str(domain.name())
    _turn_off(domain)
    quiet(
        domain.undefineFlags,
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM,
    )
    return name


def pause(conn: Any, uuid: str) -> None:
    """Stop the CPUs of a domain."""
    domain = conn.lookupByUUIDString(uuid)
    if int(domain.state()[0]) != bindings().VIR_DOMAIN_PAUSED:
        domain.suspend()


def unpause(conn: Any, uuid: str) -> None:
    """Let the CPUs of a domain go on."""
    domain = conn.lookupByUUIDString(uuid)
    if int(domain.state()[0]) == bindings().VIR_DOMAIN_PAUSED:
        domain.resume()


def interrupt(conn: Any, uuid: str) -> None:
    """Send a domain a non-maskable interrupt."""
    conn.lookupByUUIDString(uuid).injectNMI()


def suspend(conn: Any, uuid: str, folder: Path) -> None:
    """Write the memory of a domain to a file. Raises HostFailure where there is no room for it."""
    domain = conn.lookupByUUIDString(uuid)
    if state_number(domain) == SUSPENDED:
        return
    needed = int(domain.info()[1]) * 1024 + _MORE_THAN_MEMORY
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if free < needed:
        raise HostFailure(
            f"The host has no room on its disk for the guest's memory: {needed >> 20} MiB are needed at most, "
            f"{free >> 20} MiB are free.",
            stage="guest",
            detail=f"in {folder}",
        )
    domain.managedSave(bindings().VIR_DOMAIN_SAVE_RUNNING)


def resume(conn: Any, uuid: str) -> None:
    """Let a domain go on from its memory on the disk, or wake it where it sleeps by itself."""
    domain = conn.lookupByUUIDString(uuid)
    if not domain.isActive():
        domain.create()
    elif int(domain.state()[0]) == bindings().VIR_DOMAIN_PMSUSPENDED:
        domain.pMWakeup()


def _turn_off(domain: Any) -> None:
    """End a domain, or wait until an end that is under way is over.

    A domain that is ending is not active any more while libvirt still has a file of it: `isActive` would not tell.
    """
    quiet(domain.destroy, ignore=bindings().VIR_ERR_OPERATION_INVALID)


def _ask_agent(domain: Any, command: str) -> None:
    """Send a guest's agent a command that it does not answer; where none speaks soon, nothing happens."""
    libvirt = bindings()
    import libvirt_qemu

    with contextlib.suppress(libvirt.libvirtError):
        libvirt_qemu.qemuAgentCommand(domain, command, _AGENT_SECONDS, 0)
