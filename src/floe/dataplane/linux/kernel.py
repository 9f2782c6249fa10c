"""What the kernel is asked directly, where starting a program would cost more than the answer."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from floe.dataplane.linux.links import Device
from floe.dataplane.linux.run import ports_failure
from floe.pools import alone

T = TypeVar("T")

NAMESPACES = Path("/run/netns")
"""Where `ip netns` keeps the namespaces it names."""

_CLONE_NEWNET = 0x40000000
_NETLINK_NETFILTER = 12
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")
_REQUEST, _DUMP, _DUMP_INTERRUPTED = 0x1, 0x300, 0x10
_TRIES = 20
_ERROR, _DONE = 2, 3
_GET_LINK = 18
_IFF_UP = 0x1
_NAME, _MTU, _MASTER, _LINK_INFO, _ALIAS, _EXT_MASK = 3, 4, 10, 18, 20, 29
_INFO_KIND = 1
_SKIP_STATISTICS = 8
_GET_GENERATION = (10 << 8) | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_GENERATION_ID = 1


def devices() -> dict[str, Device]:
    """Return the network devices of the calling thread's namespace, by name."""
    family = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    mask = _ATTRIBUTE.pack(8, _EXT_MASK) + struct.pack("=I", _SKIP_STATISTICS)
    names: dict[int, str] = {}
    found: list[tuple[int, int, dict[int, bytes]]] = []
    for body in _ask(socket.NETLINK_ROUTE, _GET_LINK, _REQUEST | _DUMP, family + mask):
        _, _, index, flags, _ = _LINK.unpack_from(body)
        attributes = dict(_attributes(body[_LINK.size :]))
        names[index] = _text(attributes[_NAME])
        found.append((index, flags, attributes))
    result = {}
    for index, flags, attributes in found:
        info = dict(_attributes(attributes.get(_LINK_INFO, b"")))
        master = attributes.get(_MASTER)
        result[names[index]] = Device(
            name=names[index],
            kind=_text(info.get(_INFO_KIND, b"")),
            master=names.get(struct.unpack("=I", master)[0], "?") if master else "",
            mtu=struct.unpack("=I", attributes[_MTU])[0],
            up=bool(flags & _IFF_UP),
            alias=_text(attributes.get(_ALIAS, b"")),
        )
    return result


def rules_generation() -> int:
    """Return the number that nftables counts up whenever anybody changes a rule in this namespace."""
    for body in _ask(_NETLINK_NETFILTER, _GET_GENERATION, _REQUEST, struct.pack("=BBH", 0, 0, 0)):
        value = dict(_attributes(body[4:])).get(_GENERATION_ID)
        if value:
            return int.from_bytes(value, "big")
    raise ports_failure("The kernel does not tell its nftables generation.")


def namespaces() -> dict[str, int]:
    """Return the named network namespaces and their inode numbers."""
    found: dict[str, int] = {}
    for path in _named():
        with contextlib.suppress(FileNotFoundError):  # it may go while we look
            found[path.name] = path.stat().st_ino
    return found


def forget_broken_namespaces(owned: Callable[[str], bool]) -> None:
    """Remove the names that no namespace is mounted on: an `ip netns add` that was killed leaves such a file."""
    kept_on = Path("/proc/self/ns/net").stat().st_dev
    for path in _named():
        with contextlib.suppress(FileNotFoundError):
            if owned(path.name) and path.stat().st_dev != kept_on:
                path.unlink()


def _named() -> list[Path]:
    try:
        return list(NAMESPACES.iterdir())
    except FileNotFoundError:
        return []


async def in_namespace(name: str, work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own inside a named network namespace, and end the thread."""

    def entered() -> T:
        descriptor = os.open(NAMESPACES / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # Python 3.11 has no os.setns.
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            os.close(descriptor)
        return work()

    try:
        return await alone(entered)
    except OSError as error:
        raise ports_failure(f"Network namespace {name} cannot be used: {error.strerror}.", str(error)) from error


def _ask(protocol: int, kind: int, flags: int, payload: bytes) -> list[bytes]:
    """Send one netlink request and return the bodies of its answers."""
    for _ in range(_TRIES):
        try:
            return list(_answers(protocol, kind, flags, payload))
        except InterruptedError:
            continue
    raise ports_failure("The host's network changes faster than it can be read.")


def _answers(protocol: int, kind: int, flags: int, payload: bytes) -> Iterator[bytes]:
    """Yield the answers to one request; raises InterruptedError when what is listed changes meanwhile."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as link:
        link.settimeout(5)
        link.send(_HEADER.pack(_HEADER.size + len(payload), kind, flags, 1, 0) + payload)
        while True:
            data = link.recv(1 << 18)
            position = 0
            while position < len(data):
                length, kind_found, flags_found, _, _ = _HEADER.unpack_from(data, position)
                if flags & _DUMP and flags_found & _DUMP_INTERRUPTED:
                    raise InterruptedError
                body = data[position + _HEADER.size : position + length]
                if kind_found == _ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise ports_failure(f"The kernel refused to answer: {os.strerror(code)}.")
                if kind_found == _DONE:
                    return
                yield body
                position += (length + 3) & ~3
            if not flags & _DUMP:
                return


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
