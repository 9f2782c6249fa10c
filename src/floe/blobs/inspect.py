"""What an image is, judged by its bytes as they arrive; what it is called decides nothing.

Every known format is looked for in the head of the data; what was not declared, is ambiguous, refers to files outside
itself, or is larger inside than allowed, is refused as soon as that is known.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from floe.core.errors import Invalid, UnsupportedMedia

log = logging.getLogger(__name__)

HEAD = 512 << 10
"""Bytes that are looked at together, however they were cut in transit; every format shows itself within them."""
_PADDED = 4096

_PLAIN = frozenset({"raw", "gpt"})
"""No format at all, or a partition table at the start of a plain disk."""
_ACCEPTED: Mapping[str, frozenset[str]] = {
    "raw": _PLAIN,
    "ami": _PLAIN,
    "ari": _PLAIN,
    "aki": _PLAIN,
    "iso": frozenset({"iso", "gpt"}),  # a hybrid ISO begins with a partition table
    "qcow2": frozenset({"qcow2"}),
    "vmdk": frozenset({"vmdk"}),
    "vdi": frozenset({"vdi"}),
    "vhd": frozenset({"vhd"}),
    "vhdx": frozenset({"vhdx"}),
}
_WHY: Mapping[str, str] = {
    "backing_file": "it has a backing file; flatten it with 'qemu-img convert -O qcow2'",
    "data_file": "its data is in an external file; put it into one file with 'qemu-img convert -O qcow2'",
    "unknown_features": "it needs qcow2 features that are not supported; "
    "convert it with 'qemu-img convert -O qcow2 -o compat=1.1'",
    "descriptor": "its VMDK descriptor names extents outside the file or is of a kind that is not supported; "
    "convert it with 'qemu-img convert -O qcow2'",
    "footer": "its VMDK footer contradicts its header",
}
_QCOW2 = struct.Struct(">4sIQIIQIIQQI")
_CLUSTER_BITS = range(9, 22)
_MAX_L1 = 32 << 20


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the bytes turned out to be; `virtual_size` is that of the disk inside, in bytes."""

    format: str
    virtual_size: int | None
    """None where there is no disk, since there are no bytes."""


class Inspection:
    """Looks at an image while it passes: `feed` each chunk, then `finish`. Both raise as soon as it is refused.

    Make it in a thread when the event loop must not wait: the first one imports the detectors (0.2 s).
    """

    def __init__(self, disk_format: str, max_virtual_bytes: int) -> None:
        from oslo_utils.imageutils import format_inspector

        self.disk_format = disk_format
        self.max_virtual_bytes = max_virtual_bytes
        self.size = 0
        self._detectors: dict[str, Any] = {
            name: kind() for name, kind in format_inspector.ALL_FORMATS.items() if name != "raw"
        }
        self._hungry = dict(self._detectors)
        self._head: bytearray | None = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes. Raises UnsupportedMedia for another format than declared, Invalid for a bad image."""
        self.size += len(chunk)
        if self._head is None:
            if self._hungry:
                self._eat(chunk)
            return
        self._head += chunk
        if len(self._head) >= HEAD:
            self._look()
            self._judge(self._matches(), whole=False)

    def finish(self) -> Found:
        """Say what it was, once all bytes were fed; none at all are raw. Raises UnsupportedMedia or Invalid."""
        if self._head is not None:
            # A header that the data ends within still counts: what reads the file later may fill it up with zeros.
            self._head += bytes(max(0, _PADDED - len(self._head)))
            self._look()
        for detector in self._detectors.values():
            detector.finish()
        matches = self._matches()
        self._judge(matches, whole=True)
        formats = [name for name in matches if name != "gpt"]
        if not formats:
            return self._within(Found(format="raw", virtual_size=self.size or None))
        return self._within(Found(format=formats[0], virtual_size=self._virtual_size(formats[0])))

    def _look(self) -> None:
        head, self._head = bytes(self._head or b""), None
        self._eat(head)

    def _eat(self, chunk: bytes) -> None:
        for name, detector in list(self._hungry.items()):
            try:
                detector.eat_chunk(chunk)
            except Exception as error:
                log.debug("not %s: %s", name, error)
                if not self._is(name):
                    del self._detectors[name]
                elif name != "gpt":
                    raise Invalid(f"The image is a damaged {name}: {error}.") from error
                del self._hungry[name]
            else:
                if detector.complete:
                    del self._hungry[name]

    def _is(self, name: str) -> bool:
        try:
            return bool(self._detectors[name].format_match)
        except Exception:
            return False  # it cannot tell from what there is, so it is not that

    def _matches(self) -> list[str]:
        return [name for name in self._detectors if self._is(name)]

    def _judge(self, matches: list[str], *, whole: bool) -> None:
        found = set(matches) or {"raw"}
        accepted = _ACCEPTED.get(self.disk_format, frozenset())
        real = [name for name in matches if name != "gpt"]
        if not found <= accepted or (self.disk_format not in found and accepted is not _PLAIN):
            shown = " and ".join(real) or "raw"
            raise UnsupportedMedia(
                f"The image's disk_format is {self.disk_format}, but its data is {shown}. "
                "Create the image with the format that the data has, or convert the data with qemu-img."
            )
        for name in real:
            self._demand_safe(name, whole)

    def _demand_safe(self, name: str, whole: bool) -> None:
        detector = self._detectors[name]
        if name == "qcow2":
            self._demand_sound_qcow2(bytes(detector.region("header").data), whole)
        if not (whole or detector.complete):
            return
        try:
            detector.safety_check()
        except Exception as error:
            failures = getattr(error, "failures", {})
            why = "; ".join(_WHY.get(check, str(failure)) for check, failure in failures.items()) or str(error)
            raise Invalid(f"The image is a {name} that cannot be accepted: {why}.") from error
        self._within(Found(format=name, virtual_size=self._virtual_size(name)))

    def _demand_sound_qcow2(self, header: bytes, whole: bool) -> None:
        _, version, _, _, bits, size, crypt, l1_entries, l1_at, refcounts_at, refcount_clusters = _QCOW2.unpack_from(
            header
        )
        if version not in {2, 3} or bits not in _CLUSTER_BITS or l1_entries * 8 > _MAX_L1:
            raise Invalid(
                f"The image is a qcow2 with a header that makes no sense (version {version}, cluster bits {bits}, "
                f"{l1_entries} L1 entries)."
            )
        if crypt:
            raise Invalid("The image is an encrypted qcow2; upload it decrypted.")
        reach = l1_entries << (2 * bits - 3)
        if size > reach:
            raise Invalid(f"The image is a damaged qcow2: it claims {size} bytes, its tables reach {reach}.")
        if whole:
            end = max(l1_at + l1_entries * 8, refcounts_at + 1 if refcount_clusters else 0)
            if end > self.size:
                raise Invalid(
                    f"The image is a qcow2 that is cut off: it has {self.size} bytes, its tables end at {end}."
                )

    def _virtual_size(self, name: str) -> int:
        size = int(self._detectors[name].virtual_size)
        return size if size > 0 else self.size

    def _within(self, found: Found) -> Found:
        if (found.virtual_size or 0) > self.max_virtual_bytes:
            raise Invalid(
                f"The disk in the image is {found.virtual_size} bytes large; "
                f"this cloud takes at most {self.max_virtual_bytes}."
            )
        return found
