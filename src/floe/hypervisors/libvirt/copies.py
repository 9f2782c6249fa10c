"""Copies of disks of domains that are on, by QEMU's own backup: blocking calls of libvirt, each may be repeated.

The guest goes on all the while. What it overwrites meanwhile QEMU copies first, so that the copy is the disk as it was
when the backup began; nothing is put between the guest and its disk that would have to be taken away again.
"""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec

from floe.core.errors import HostFailure
from floe.hypervisors.libvirt.connection import bindings, quiet

_AGENT_SECONDS = 10


class Under(msgspec.Struct, frozen=True, kw_only=True):
    """How a backup is: it goes on, or has ended; `error` says why it failed."""

    goes_on: bool
    error: str = ""


def is_on(conn: Any, uuid: str) -> bool:
    """Say whether a domain has a QEMU that has its disks open."""
    domain = quiet(conn.lookupByUUIDString, uuid)
    return domain is not None and bool(domain.isActive())


def begin(conn: Any, uuid: str, device: str, copy: Path, frozen: Path, *, quiesce: bool | None) -> None:
    """Begin to copy a disk to a file that is there. Raises HostFailure where the guest must be quiesced and is not.

    `frozen` is a file that is there as long as the guest may be frozen, and says so to whoever comes after us.
    """
    domain = conn.lookupByUUIDString(uuid)
    try:
        if quiesce is not False and int(domain.state()[0]) == bindings().VIR_DOMAIN_RUNNING:
            frozen.touch(mode=0o600)
            _freeze(domain, must=quiesce is True)
        domain.backupBegin(_backup_xml(device, copy), None, bindings().VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
    finally:
        thaw(conn, uuid, frozen)


def look(conn: Any, uuid: str) -> Under:
    """Say how the backup of a domain is."""
    libvirt, domain = bindings(), conn.lookupByUUIDString(uuid)
    now = domain.jobStats()
    if now.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP and now["type"] in {
        libvirt.VIR_DOMAIN_JOB_BOUNDED,
        libvirt.VIR_DOMAIN_JOB_UNBOUNDED,
    }:
        return Under(goes_on=True)
    if not domain.isActive():
        return Under(goes_on=False, error="the guest was turned off while its disk was being copied")
    done = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
    if done.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
        return Under(goes_on=False, error="libvirt knows nothing of the copy")
    if done["type"] != libvirt.VIR_DOMAIN_JOB_COMPLETED or not done.get("success", True):
        return Under(goes_on=False, error=str(done.get("errmsg") or "QEMU could not write it"))
    return Under(goes_on=False)


def abort(conn: Any, uuid: str) -> None:
    """End the backup of a domain, if there is one, and wait until QEMU has let go of the file."""
    libvirt, domain = bindings(), quiet(conn.lookupByUUIDString, uuid)
    if domain is None or not domain.isActive():
        return
    if quiet(domain.backupGetXMLDesc, ignore=libvirt.VIR_ERR_NO_DOMAIN_BACKUP) is not None:
        quiet(domain.abortJob, ignore=libvirt.VIR_ERR_OPERATION_INVALID)


def is_under_way(conn: Any, uuid: str) -> bool:
    """Say whether a backup of a domain is not over yet."""
    domain = quiet(conn.lookupByUUIDString, uuid)
    if domain is None or not domain.isActive():
        return False
    return quiet(domain.backupGetXMLDesc, ignore=bindings().VIR_ERR_NO_DOMAIN_BACKUP) is not None


def thaw(conn: Any, uuid: str, frozen: Path) -> None:
    """Let a guest write again that may be frozen; one whose agent does not answer does so by itself, or never froze."""
    if not frozen.exists():
        return
    libvirt, domain = bindings(), quiet(conn.lookupByUUIDString, uuid)
    if domain is not None and domain.isActive():
        with contextlib.suppress(libvirt.libvirtError):  # the agent itself thaws what it froze when it is started again
            domain.fsThaw()
    frozen.unlink(missing_ok=True)


def _freeze(domain: Any, *, must: bool) -> None:
    libvirt = bindings()
    domain.agentSetResponseTimeout(_AGENT_SECONDS)
    try:
        domain.fsFreeze()
    except libvirt.libvirtError as error:
        if must:
            text = "The guest cannot be quiesced, as its image demands: its agent does not answer, or refused."
            raise HostFailure(text, stage="snapshot", detail=str(error)) from error


def _backup_xml(device: str, copy: Path) -> str:
    backup = ET.Element("domainbackup", mode="push")
    disk = ET.SubElement(ET.SubElement(backup, "disks"), "disk", name=device, type="file", backup="yes")
    ET.SubElement(disk, "target", file=str(copy))
    ET.SubElement(disk, "driver", type="qcow2")
    return ET.tostring(backup, encoding="unicode")
