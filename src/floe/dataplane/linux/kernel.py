"""What the kernel is asked directly, where starting a program would cost more than the answer."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from floe.dataplane.linux.links import Device
from floe.dataplane.linux.run import ports_failure
from floe.pools import alone

T = TypeVar("T")

NAMESPACES = Path("/run/netns")
"""Where `ip netns` keeps the namespaces it names."""

_CLONE_NEWNET = 0x40000000
NETFILTER = 12
"""The netlink protocol of nftables and connection tracking."""
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")
REQUEST, DUMP = 0x1, 0x300
_INTERRUPTED, _ACKNOWLEDGE = 0x10, 0x4
_TRIES = 20
_ERROR, _DONE = 2, 3
_GET_LINK, _GET_ADDRESS, _GET_ROUTE = 18, 22, 26
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_LOCAL = 2
_ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags."""
_DESTINATION, _OUT, _GATEWAY = 1, 4, 5
_MAIN_TABLE, _BY_KERNEL = 254, 2
_MAIN_ROUTES = _ROUTE.pack(socket.AF_INET, 0, 0, 0, _MAIN_TABLE, 0, 0, 0, 0)
_SOL_NETLINK = 270
_NETLINK_STRICT = 12  # NETLINK_GET_STRICT_CHK: list only what was asked for
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_MAC, _NAME, _MTU, _MASTER, _LINK_INFO, _ALIAS, _EXT_MASK = 1, 3, 4, 10, 18, 20, 29
_INFO_KIND, _INFO_DATA = 1, 2
_BRIDGE_FILTERED = 36  # IFLA_BR_NF_CALL_IPTABLES
_TUN_MULTI_QUEUE = 7  # IFLA_TUN_MULTI_QUEUE
_SKIP_STATISTICS = 8
_GET_GENERATION = (10 << 8) | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_GENERATION_ID = 1


def devices() -> dict[str, Device]:
    """Return the network devices of the calling thread's namespace, by name."""
    family = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    mask = _ATTRIBUTE.pack(8, _EXT_MASK) + struct.pack("=I", _SKIP_STATISTICS)
    names: dict[int, str] = {}
    found: list[tuple[int, int, dict[int, bytes]]] = []
    for body in ask(socket.NETLINK_ROUTE, _GET_LINK, REQUEST | DUMP, family + mask):
        _, _, index, flags, _ = _LINK.unpack_from(body)
        attributes = dict(attributes_of(body[_LINK.size :]))
        names[index] = _text(attributes[_NAME])
        found.append((index, flags, attributes))
    result = {}
    for index, flags, attributes in found:
        info = dict(attributes_of(attributes.get(_LINK_INFO, b"")))
        kind, master = _text(info.get(_INFO_KIND, b"")), attributes.get(_MASTER)
        own = dict(attributes_of(info.get(_INFO_DATA, b""))) if kind in ("bridge", "tun") else {}
        result[names[index]] = Device(
            name=names[index],
            kind=kind,
            master=names.get(struct.unpack("=I", master)[0], "?") if master else "",
            mtu=struct.unpack("=I", attributes[_MTU])[0],
            up=bool(flags & _IFF_UP),
            alias=_text(attributes.get(_ALIAS, b"")),
            mac=attributes.get(_MAC, b"").hex(":"),
            filtered=kind == "bridge" and own.get(_BRIDGE_FILTERED) == b"\1",
            queued=kind == "tun" and own.get(_TUN_MULTI_QUEUE) == b"\1",
            held=kind == "tun" and bool(flags & _IFF_LOWER_UP),
        )
    return result


def addresses() -> dict[str, list[str]]:
    """Return the IPv4 addresses (with the lengths of their prefixes) of the calling thread's namespace, by device."""
    names = dict(socket.if_nameindex())
    found: dict[str, list[str]] = {}
    for body in ask(socket.NETLINK_ROUTE, _GET_ADDRESS, REQUEST | DUMP, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)):
        _, length, _, _, index = _ADDRESS.unpack_from(body)
        local = dict(attributes_of(body[_ADDRESS.size :]))[_LOCAL]
        found.setdefault(names.get(index, "?"), []).append(f"{socket.inet_ntoa(local)}/{length}")
    return found


def routes() -> set[tuple[str, str, str]]:
    """Return the main table's IPv4 routes that the kernel did not make by itself: destination, next hop, device."""
    names = dict(socket.if_nameindex())
    found = set()
    for body in ask(socket.NETLINK_ROUTE, _GET_ROUTE, REQUEST | DUMP, _MAIN_ROUTES):
        _, length, _, _, table, protocol, _, _, _ = _ROUTE.unpack_from(body)
        if table != _MAIN_TABLE or protocol == _BY_KERNEL:
            continue
        attributes = dict(attributes_of(body[_ROUTE.size :]))
        destination = socket.inet_ntoa(attributes.get(_DESTINATION, bytes(4)))
        hop = socket.inet_ntoa(attributes[_GATEWAY]) if _GATEWAY in attributes else ""
        device = names.get(struct.unpack("=I", attributes[_OUT])[0], "?") if _OUT in attributes else ""
        found.add((f"{destination}/{length}", hop, device))
    return found


def rules_generation() -> int:
    """Return the number that nftables counts up whenever anybody changes a rule in this namespace."""
    for body in ask(NETFILTER, _GET_GENERATION, REQUEST, struct.pack("=BBH", 0, 0, 0)):
        value = dict(attributes_of(body[4:])).get(_GENERATION_ID)
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


def ask(protocol: int, kind: int, flags: int, payload: bytes) -> list[bytes]:
    """Send one netlink request and return the bodies of its answers."""
    for _ in range(_TRIES):
        try:
            return list(_answers(protocol, kind, flags, payload))
        except InterruptedError:
            continue
    raise ports_failure("The host's network changes faster than it can be read.")


def tell(protocol: int, kind: int, payloads: Iterable[bytes]) -> None:
    """Send requests that are answered by success or failure; that what they name is not there is no failure."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as link:
        link.settimeout(5)
        for payload in payloads:
            head = _HEADER.pack(_HEADER.size + len(payload), kind, REQUEST | _ACKNOWLEDGE, 1, 0)
            link.send(head + payload)
            code = -struct.unpack_from("=i", link.recv(1 << 16), _HEADER.size)[0]
            if code not in (0, errno.ENOENT):
                raise ports_failure(f"The kernel refused what it was told: {os.strerror(code)}.")


def _answers(protocol: int, kind: int, flags: int, payload: bytes) -> Iterator[bytes]:
    """Yield the answers to one request; raises InterruptedError when what is listed changes meanwhile."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as link:
        link.settimeout(5)
        if kind == _GET_ROUTE and protocol == socket.NETLINK_ROUTE:
            link.setsockopt(_SOL_NETLINK, _NETLINK_STRICT, 1)
        link.send(_HEADER.pack(_HEADER.size + len(payload), kind, flags, 1, 0) + payload)
        while True:
            data = link.recv(1 << 18)
            position = 0
            while position < len(data):
                length, kind_found, flags_found, _, _ = _HEADER.unpack_from(data, position)
                if flags & DUMP and flags_found & _INTERRUPTED:
                    raise InterruptedError
                body = data[position + _HEADER.size : position + length]
                if kind_found == _ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise ports_failure(f"The kernel refused to answer: {os.strerror(code)}.")
                if kind_found == _DONE:
                    return
                yield body
                position += (length + 3) & ~3
            if not flags & DUMP:
                return


def attributes_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes of a netlink message, or of one that holds others: type and content."""
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
