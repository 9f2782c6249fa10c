"""The one door to libvirt-python: plain values in and out, every call in a small pool of threads."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import logging
import os
import re
import signal
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from floe.core.errors import HostFailure

log = logging.getLogger(__name__)

T = TypeVar("T")
LifecycleHandler = Callable[[str, int], None]
"""Called in libvirt's thread with a domain's UUID and a `virDomainEventType`."""

_ROOT_MAX = 32
"""Longest embed root: the path of a guest-agent socket below it must stay within the 107 bytes of a UNIX socket."""

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
"""Seconds between attempts to find a libvirtd again that is gone."""

_QEMU_USER = "libvirt-qemu"
"""Whom an embedded driver asks QEMU as what it can do, and who has its folders; each guest is somebody else."""

_SYSTEM_FOLDER = Path("/var/lib/libvirt/qemu")

_SHUT_OFF, SUSPENDED = 5, 7
"""`VIR_DOMAIN_SHUTOFF`, and `VIR_DOMAIN_PMSUSPENDED`, as which an event has the same number."""
_SAVED = (5, 4)
"""The event, and its detail, of a domain that stopped because its memory was kept on the disk."""

_CONNECTED = 1
"""`VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED`"""

_UNBORN = re.compile(rb"<domstatus [^>]*pid='0'")

_MISSING = (
    "The Python bindings of libvirt are missing. Install them with `pip install floe-cloud[libvirt]`"
    " (needs gcc, pkg-config, python3-dev, libvirt-dev) or, for the system's Python, `apt install python3-libvirt`."
)


@cache
def bindings() -> Any:
    """Import libvirt and start its event loop, once per process: it must run before any connection is opened."""
    os.environ.setdefault("LIBVIRT_DEBUG", "4")  # its library logs warnings to stderr by default
    try:
        import libvirt
    except ImportError as error:
        raise ImportError(_MISSING) from error
    _silence()
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_events, args=(libvirt,), name="libvirt-events", daemon=True).start()
    return libvirt


def _silence() -> None:
    """Keep libvirt from writing its errors to stderr: they arrive as exceptions.

    The handler must not be Python's. libvirt calls it in the processes it forks to become QEMU, too, where the thread
    that has the interpreter's lock does not exist: such a process would wait for ever, holding all our files.
    `free` of no user data is a handler that does nothing.
    """
    nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
    ctypes.CDLL("libvirt.so.0").virSetErrorFunc(None, nothing)


def _events(libvirt: Any) -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            log.warning("libvirt's event loop failed once: %s", error)


def embed_root(uri: str) -> Path | None:
    """Return DIR of `qemu:///embed?root=DIR`, None for any other URI."""
    parts = urlsplit(uri)
    if parts.path != "/embed":
        return None
    root = parse_qs(parts.query).get("root", [""])[0]
    if not root.startswith("/"):
        raise HostFailure(f"The libvirt URI {uri!r} wants an absolute directory: qemu:///embed?root=/DIR.")
    return Path(root)


def let_guests_through(uri: str) -> None:
    """Let guests through to the folders that a system's libvirtd makes for each of them.

    It is so as libvirt itself would be installed; Debian closes this one to all users but libvirt-qemu.
    """
    mode = stat.S_IMODE(_SYSTEM_FOLDER.stat().st_mode) if embed_root(uri) is None and _SYSTEM_FOLDER.is_dir() else None
    if mode is not None and not mode & stat.S_IXOTH:
        log.info("chmod o+x %s, so that guests, who are users of their own, reach their folders in it", _SYSTEM_FOLDER)
        _SYSTEM_FOLDER.chmod(mode | stat.S_IXOTH)


def gives_guests_users(uri: str) -> bool:
    """Say whether the libvirt at a URI may run each guest as another user: that of the system, or our own as root."""
    return os.geteuid() == 0 and urlsplit(uri).path in ("/embed", "/system")


def forget_log(root: Path, guest_name: str) -> None:
    """Remove what an embedded driver has logged of a guest that is gone; else there would be a file for each ever."""
    if guest_name and Path(guest_name).name == guest_name:
        (root / "log" / "qemu" / f"{guest_name}.log").unlink(missing_ok=True)


def prepare_embed(root: Path) -> str:
    """Write the configuration of an embedded QEMU driver and return the URI to open.

    A root too long for UNIX sockets is reached through a short link, the same at each start.
    """
    (root / "etc").mkdir(parents=True, exist_ok=True)
    for folder in (root, root / "lib", root / "lib/qemu"):  # guests have folders of their own in there
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
    lines = [
        "namespaces = []",
        "cgroup_controllers = []",
        "dynamic_ownership = 0",
        "remember_owner = 0",
        'stdio_handler = "file"',
    ]
    if os.geteuid() == 0:
        lines += [f'user = "{_QEMU_USER}"', f'group = "{_QEMU_USER}"']
    (root / "etc" / "qemu.conf").write_text("\n".join(lines) + "\n")
    _forget_unborn(root / "run" / "qemu")
    if len(str(root)) > _ROOT_MAX:
        root = _short_link(root)
    _end_probes(root)
    return f"qemu:///embed?root={quote(str(root))}"


def _forget_unborn(statuses: Path) -> None:
    """Remove what a killed driver noted of guests whose QEMU was not there yet: pid 0 in the status file.

    libvirt (9.0 at least) reads it back as a guest that is being started, by nobody, and never agrees to destroy it.
    The process that was to become QEMU ended with the driver: it waits for its word before it does.
    """
    for file in statuses.glob("*.xml"):
        with file.open("rb") as status:
            if _UNBORN.search(status.read(4096)):
                log.warning("the start of guest %s was cut short", file.stem)
                file.unlink(missing_ok=True)


def _end_probes(root: Path) -> None:
    """Kill each QEMU that a killed driver was asking what it can do: it waits for more, and nobody knows of it.

    Of this mount namespace alone: in another one the same path is somebody else's.
    """
    mark = f"unix:{root}/lib/qemu/qmp-".encode()
    namespace = Path("/proc/self/ns/mnt").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is none of ours
            words = (process / "cmdline").read_bytes().split(b"\0")
            if any(word.startswith(mark) for word in words) and (process / "ns/mnt").readlink() == namespace:
                log.warning("the QEMU %s, which an earlier driver asked what it can do, is ended", process.name)
                os.kill(int(process.name), signal.SIGKILL)


def _short_link(root: Path) -> Path:
    base = Path("/run") if os.geteuid() == 0 else Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))
    link = base / f"floe-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"
    try:
        if not (link.is_symlink() and link.readlink() == root):
            link.unlink(missing_ok=True)
            link.symlink_to(root)
    except OSError as error:
        raise HostFailure(
            f"The path {root} is too long for the sockets of guests: choose a state directory whose path is"
            f" shorter by {len(str(root)) - _ROOT_MAX} characters.",
            detail=f"cannot make the link {link}: {error}",
        ) from error
    return link


class LibvirtConnection:
    """A connection that reopens itself when libvirtd has gone and come back."""

    def __init__(self, uri: str, *, threads: int = 4) -> None:
        self._uri = uri
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="libvirt")
        self._lock = threading.Lock()
        self._conn: Any = None
        self._handler: LifecycleHandler | None = None
        self._back: Callable[[], None] | None = None
        self._spoke: Callable[[str], None] | None = None
        self._closed = threading.Event()

    async def open(self, handler: LifecycleHandler, back: Callable[[], None], spoke: Callable[[str], None]) -> None:
        """Connect and hear of lifecycle events from now on. Raises HostFailure, and ImportError without bindings.

        `back` is called, in some thread, whenever libvirt was gone and is there again: events were missed. `spoke` is
        called in libvirt's thread, with the UUID of a domain in which a guest agent begins to speak.
        """
        self._handler, self._back, self._spoke = handler, back, spoke
        await self.run(self._connected)

    async def close(self) -> None:
        """Disconnect."""
        await self.run(self._disconnect)
        self._pool.shutdown(wait=False)

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """Run a blocking call in the pool; a cancelled caller goes on only once the call has ended.

        Otherwise whoever cleans up after the cancelled work could overtake it.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, partial(call, *args))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                try:
                    await asyncio.wait({future})
                except asyncio.CancelledError:  # told twice; the call must end all the same
                    continue
            if not future.cancelled():
                future.exception()
            raise

    async def capabilities(self) -> str:
        """Return the capabilities XML; the first call of all makes libvirt probe QEMU, which takes seconds."""
        return str(await self.ask(lambda conn: conn.getCapabilities()))

    async def version(self) -> int:
        """Return QEMU's version as a number."""
        return int(await self.ask(lambda conn: conn.getVersion()))

    async def cpus(self) -> int:
        """Return the host's number of CPUs."""
        return int((await self.ask(lambda conn: conn.getInfo()))[2])

    async def guests(self, namespace: str) -> list[tuple[str, int, str]]:
        """Return UUID, `virDomainState` and our metadata XML of each domain that has some in `namespace`."""

        def collect(conn: Any) -> list[tuple[str, int, str]]:
            found = []
            for domain in conn.listAllDomains():
                metadata = quiet(_metadata, domain, namespace)
                state = quiet(state_number, domain)
                if metadata is not None and state is not None:
                    found.append((domain.UUIDString(), state, metadata))
            return found

        return await self.ask(collect)

    async def state(self, uuid: str) -> int | None:
        """Return the `virDomainState` of a domain, None if there is no such domain."""

        def look(conn: Any) -> int | None:
            domain = quiet(conn.lookupByUUIDString, uuid)
            return None if domain is None else quiet(state_number, domain)

        return await self.ask(look)

    async def ask(self, call: Callable[[Any], T]) -> T:
        """Call libvirt in the pool. Raises HostFailure for what it refuses."""
        return await self.run(self.asked, call)

    def asked(self, call: Callable[[Any], T]) -> T:
        """Do the same in this thread, which may block."""
        libvirt = bindings()
        try:
            return call(self._connected())
        except libvirt.libvirtError as error:
            raise failure(str(error)) from error

    def _connected(self) -> Any:
        libvirt = bindings()
        with self._lock:
            if self._conn is not None and self._conn.isAlive():
                return self._conn
            root = embed_root(self._uri)
            uri = self._uri if root is None else prepare_embed(root)
            try:
                conn = libvirt.open(uri)
            except libvirt.libvirtError as error:
                raise HostFailure(_unreachable(self._uri, str(error)), detail=str(error)) from error
            if root is None:
                conn.setKeepAlive(5, 3)
                conn.registerCloseCallback(self._lost, None)
            conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)
            conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._agent, None)
            self._conn = conn
            return conn

    def _lost(self, _conn: Any, _reason: int, _opaque: Any) -> None:
        """Begin to look for libvirt; this is its own event loop's thread, which has to go on."""
        if not self._closed.is_set():
            log.warning("libvirt at %s is gone", self._uri)
            threading.Thread(target=self._come_back, name="libvirt-again", daemon=True).start()

    def _come_back(self) -> None:
        wait = _FIRST_WAIT
        while not self._closed.wait(wait):
            try:
                self._connected()
            except HostFailure:
                wait = min(2 * wait, _LONGEST_WAIT)
                continue
            log.info("libvirt at %s is there again", self._uri)
            if self._back is not None:
                self._back()
            return

    def _disconnect(self) -> None:
        self._closed.set()
        with self._lock:
            if self._conn is not None:
                self._conn.close()
                self._conn = None

    def _lifecycle(self, _conn: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        if self._handler is not None:
            self._handler(domain.UUIDString(), SUSPENDED if (event, detail) == _SAVED else event)

    def _agent(self, _conn: Any, domain: Any, state: int, _reason: int, _opaque: Any) -> None:
        if self._spoke is not None and state == _CONNECTED:
            self._spoke(domain.UUIDString())


def _unreachable(uri: str, reason: str) -> str:
    if _QEMU_USER in reason:
        return f"libvirt cannot be opened at {uri}: the user {_QEMU_USER} is missing; install libvirt-daemon-system."
    return f"libvirt cannot be opened at {uri}: {reason}"


def failure(text: str) -> HostFailure:
    """Return the failure for an error of libvirt: QEMU's own last line to read, the whole as detail."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else "libvirt gave no reason"
    for mark in ("qemu-system-x86_64: ", "internal error: "):
        _, found, rest = last.rpartition(mark)
        last = rest if found else last
    return HostFailure(f"The guest could not be run: {last}", stage="guest", detail=text)


def _metadata(domain: Any, namespace: str) -> str:
    return str(domain.metadata(bindings().VIR_DOMAIN_METADATA_ELEMENT, namespace))


def state_number(domain: Any) -> int:
    """Return the `virDomainState` of a domain; one whose memory is kept on the disk is suspended, not off."""
    number = int(domain.state()[0])
    return SUSPENDED if number == _SHUT_OFF and domain.hasManagedSaveImage() else number


def quiet(call: Callable[..., T], *args: Any, ignore: int | None = None) -> T | None:
    """Call libvirt; None when the domain, or its metadata, is not there (any more)."""
    libvirt = bindings()
    gone = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_METADATA, ignore}
    try:
        return call(*args)
    except libvirt.libvirtError as error:
        if error.get_error_code() in gone:
            return None
        raise
