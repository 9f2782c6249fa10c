"""The DHCP and DNS servers of a host: a dnsmasq per segment, which outlives the process that started it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from floe.core.host_network import HostPort, HostSegment
from floe.dataplane.linux import account, dhcp
from floe.dataplane.linux.kernel import NAMESPACES, in_namespace
from floe.dataplane.linux.names import INNER_DEVICE, namespace_name, short
from floe.dataplane.linux.run import ports_failure, run

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0
_DHCP_PORT = 67


class DhcpServers:
    """Starts, tells and stops them. Each has a directory under `folder`, named by the short network id.

    `former` is where earlier releases had it: servers found there ran as root, and are replaced.
    """

    def __init__(self, folder: Path, former: Path) -> None:
        self._folder = folder
        self._former = former
        self._pids: dict[str, int] = {}
        self._told: set[str] = set()
        """Those that have certainly read their files as they are now."""
        self._watched: dict[str, tuple[int, int]] = {}
        """Process and pidfd of those whose end is told."""

    def watch(self, ended: Callable[[], None]) -> None:
        """Have `ended` called, in the event loop, when one of the servers there are now ends by itself."""
        loop = asyncio.get_running_loop()
        for key, pid in self._pids.items():
            if self._watched.get(key, (None,))[0] == pid:
                continue
            self._unwatch(key)
            with contextlib.suppress(OSError):  # it ended just now: the next round sees that
                handle = os.pidfd_open(pid)
                self._watched[key] = (pid, handle)
                loop.add_reader(handle, self._saw_end, key, pid, ended)

    def unwatch(self) -> None:
        """Tell of no more ends."""
        for key in list(self._watched):
            self._unwatch(key)

    def _unwatch(self, key: str) -> None:
        _, handle = self._watched.pop(key, (0, None))
        if handle is not None:
            asyncio.get_running_loop().remove_reader(handle)
            os.close(handle)

    def _saw_end(self, key: str, pid: int, ended: Callable[[], None]) -> None:
        self._unwatch(key)
        if self._pids.get(key) == pid:  # else it was ended on purpose
            log.warning("dnsmasq of network %s (process %d) has ended by itself", key, pid)
            ended()

    def find(self) -> None:
        """Find the servers that earlier runs left, by their command lines."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            for argument in _command_line(int(entry.name)):
                key = Path(os.fsdecode(argument)).parent.name if argument.startswith(b"--pid-file=") else ""
                if key and self._is_ours(int(entry.name), key):
                    self._pids[key] = int(entry.name)
        shutil.rmtree(self._former, ignore_errors=True)

    def keys(self) -> set[str]:
        """Return the short network ids for which there is a server or a directory."""
        with contextlib.suppress(FileNotFoundError):
            return {path.name for path in self._folder.iterdir()} | set(self._pids)
        return set(self._pids)

    def serves(self, network_id: str) -> bool:
        """Say whether the segment's server is alive and in the segment's present namespace."""
        key = short(network_id)
        pid = self._pids.get(key)
        if pid is None or not self._is_ours(pid, key):
            return False
        try:
            inside = Path(f"/proc/{pid}/ns/net").stat().st_ino
            return inside == (NAMESPACES / namespace_name(network_id)).stat().st_ino
        except OSError:
            return False

    def differs(self, segment: HostSegment, ports: Sequence[HostPort]) -> bool:
        """Say whether the segment's files are other than its ports want them, or not there."""
        place = self._folder / short(segment.network_id)
        return any(_read(place / name) != text for name, text in _contents(segment, ports).items())

    async def make(self, segment: HostSegment, ports: Sequence[HostPort]) -> None:
        """Make the segment's server serve these ports: start it, tell it to read again, or leave it alone."""
        key = short(segment.network_id)
        place = self._folder / key
        who = account.find()
        if self.serves(segment.network_id):
            await self._release(segment, ports)
        account.furnish(self._folder, who)
        try:
            place.mkdir(mode=0o755, exist_ok=True)
            place.chmod(0o755)
            changed = [_write(place / name, text) for name, text in _contents(segment, ports).items()]
        except OSError as error:
            raise ports_failure(f"DHCP files cannot be written in {place}: {error.strerror}.", str(error)) from error
        argv = dhcp.arguments(
            segment,
            ports,
            hosts=place / "hosts",
            options=place / "options",
            names=place / "names",
            pid_file=place / "dnsmasq.pid",
            user=who.name,
            group=who.group,
        )
        pid = self._pids.get(key)
        if pid is None or not self.serves(segment.network_id) or _command_line(pid) != _encoded(argv):
            await self._end(key)
            await self._start(segment.network_id, key, argv)
        elif any(changed) or key not in self._told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
        self._told.add(key)

    async def _release(self, segment: HostSegment, ports: Sequence[HostPort]) -> None:
        """Have the server forget the leases of ports that it is no longer to serve.

        It would keep their addresses from whoever has them next, and their names in DNS, until the leases run out. This
        comes before the files are written: whoever is killed in between does it again.
        """
        before = _read(self._folder / short(segment.network_id) / "hosts") or ""
        gone = dhcp.leases(before) - dhcp.leases(_contents(segment, ports)["hosts"])
        messages = [
            (dhcp.release(mac, address, server), server)
            for mac, address in sorted(gone)
            if (server := dhcp.server_of(segment, address)) is not None
        ]
        if messages:
            await in_namespace(namespace_name(segment.network_id), lambda: _send(messages))

    async def stop(self, key: str) -> None:
        """End a server and remove its files."""
        await self._end(key)
        shutil.rmtree(self._folder / key, ignore_errors=True)

    async def _start(self, network_id: str, key: str, argv: list[str]) -> None:
        """Start it in its namespace; it returns when it serves, having put itself in the background."""
        name = namespace_name(network_id)
        finished = await run(["nsenter", f"--net={NAMESPACES / name}", *account.confined(argv)], check=False)
        if finished.code:
            raise ports_failure(
                f"DHCP of network {network_id} could not be started (dnsmasq, status {finished.code}).",
                finished.err,
            )
        try:
            self._pids[key] = int((self._folder / key / "dnsmasq.pid").read_text())
        except (OSError, ValueError) as error:
            raise ports_failure(f"DHCP of network {network_id} left no process id.", str(error)) from error
        log.info("dnsmasq of network %s runs as process %d", network_id, self._pids[key])

    async def _end(self, key: str) -> None:
        self._told.discard(key)
        pid = self._pids.pop(key, None)
        if pid is None or not self._is_ours(pid, key):
            return
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            # The id may have passed to another process before it was held fast.
            if not self._is_ours(pid, key):
                return
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            try:
                await _ended(handle, _STOP_SECONDS)
            except TimeoutError:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                await _ended(handle, _STOP_SECONDS)
        except ProcessLookupError:
            return
        except TimeoutError:
            raise ports_failure(f"dnsmasq (process {pid}) could not be ended.") from None
        finally:
            os.close(handle)

    def _is_ours(self, pid: int, key: str) -> bool:
        found = _command_line(pid)
        files = [f"--pid-file={folder / key / 'dnsmasq.pid'}".encode() for folder in (self._folder, self._former)]
        return found[:1] == [b"dnsmasq"] and any(file in found for file in files)


def _send(messages: Sequence[tuple[bytes, str]]) -> None:
    """Send DHCP messages to the servers named, as if they came in by the inner device: there alone they listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, INNER_DEVICE.encode())
        for message, server in messages:
            sender.sendto(message, (server, _DHCP_PORT))


async def _ended(handle: int, seconds: float) -> None:
    """Wait until the process behind a pidfd has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    finally:
        loop.remove_reader(handle)


def _command_line(pid: int) -> list[bytes]:
    """Return the arguments of a process; none where there is no such process, or it is a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


def _encoded(argv: Sequence[str]) -> list[bytes]:
    return [os.fsencode(argument) for argument in argv]


def _contents(segment: HostSegment, ports: Sequence[HostPort]) -> dict[str, str]:
    files = dhcp.files(segment, ports)
    return {"hosts": files.hosts, "options": files.options, "names": files.names}


def _read(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return None


def _write(path: Path, text: str) -> bool:
    """Replace a file where it differs, readable by all, and say whether it did."""
    if _read(path) == text:
        return False
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.replace(path)
    return True
