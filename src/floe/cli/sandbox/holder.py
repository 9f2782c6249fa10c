"""The process that keeps a sandbox alive, and how the sandbox is found, entered and ended.

`STATE/sandbox/holder.json` records the holder (pid, start time) and its namespaces (inode numbers), valid for one
boot of the machine. If the holder has died, any other process that still lives in those namespaces, such as a guest,
leads back into them; then a new holder is started. `STATE/sandbox/lock` is held by whoever has entered for good.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from floe.agent.folders import make_closed, make_passable
from floe.cli.sandbox import kernel
from floe.cli.sandbox.furnish import furnish, mend
from floe.core.errors import Conflict, Forbidden, HostFailure, NotFound
from floe.dataplane.linux.names import namespace_name

_NOT_HERE = "No guest of this host is on network {!r}, or it has no DHCP."
_KINDS = ("mnt", "net", "uts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a sandbox, as it lies in the state directory."""

    boot: str
    pid: int
    started: int
    """Clock ticks since boot at which the holder started: with `boot` and `pid` it names one process for ever."""
    mnt: int
    net: int
    uts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A sandbox that this process is in until it ends, and that nobody else enters so or removes meanwhile."""

    state_dir: Path
    holder: int
    created: bool
    lock: int
    """Descriptor of the lock; it is let go when the process ends."""
    outside: int
    """Descriptor of the network namespace this process came from, the machine's own."""

    def socket_outside(self, family: int = socket.AF_INET) -> socket.socket:
        """Return a new TCP socket in the machine's own network, to reach what was bound before entering."""
        inside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            return _socket_in(self.outside, inside, family)
        finally:
            os.close(inside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A process in a sandbox."""

    pid: int
    command: str


def enter(state_dir: Path) -> Sandbox:
    """Put this process into the state directory's sandbox, which is made first if there is none.

    To be called before any other thread exists (so before numpy or uvloop are imported), and after binding what
    must stay reachable from the machine: a socket keeps the namespace it was made in. Raises Forbidden without
    root and Conflict if another process holds the sandbox.
    """
    _require_root("--sandbox")
    _require_one_thread()
    state_dir = state_dir.resolve()
    make_passable(state_dir)
    make_closed(state_dir / "sandbox")
    lock = _lock(state_dir)
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        record = _read(state_dir)
        anchor = _anchor(record)
        created = record is None or anchor is None
        if record is None or anchor is None:
            record = _start_holder(state_dir, new=True)
            anchor = record.pid
        _join(anchor, record)
        mend()
        if anchor != record.pid:
            record = _start_holder(state_dir, new=False)
    except BaseException:
        os.close(outside)
        os.close(lock)
        raise
    return Sandbox(state_dir=state_dir, holder=record.pid, created=created, lock=lock, outside=outside)


def exec_in(state_dir: Path, argv: Sequence[str], network: str | None = None) -> NoReturn:
    """Become the command `argv` inside the sandbox; with `network`, in that network's DHCP namespace.

    Raises NotFound if there is no sandbox, network or program of that name.
    """
    _require_root("floe exec")
    _require_one_thread()
    state_dir = state_dir.resolve()
    record, anchor = _find(state_dir)
    _join(anchor, record)
    words = list(argv)
    if network is not None:
        words = ["ip", "netns", "exec", _network_namespace(network), *words]
    try:
        os.execvp(words[0], words)  # noqa: S606 - to become the command is what was asked for
    except FileNotFoundError as error:
        raise NotFound("program", words[0]) from error
    except OSError as error:
        raise HostFailure(f"{words[0]} cannot be run: {error.strerror}.") from error


@contextlib.contextmanager
def reach(state_dir: Path, network: str | None = None) -> Iterator[Callable[[int], socket.socket]]:
    """Yield what makes TCP sockets in the sandbox, or with `network` in that network's DHCP namespace.

    Without a sandbox that is the machine itself. Raises NotFound if there is no such network, Forbidden without root.
    """
    record = _read(state_dir.resolve())
    anchor = _anchor(record)
    own = record is None or anchor is None
    if own and network is None:
        yield lambda family: socket.socket(family, socket.SOCK_STREAM)
        return
    _require_root("floe forward")
    root = Path("/") if own else Path(f"/proc/{anchor}/root")
    place = Path(f"/proc/{anchor}/ns/net")
    if network is not None:
        place = root / "run/netns" / namespace_name(network)
    try:
        inside = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if network is None:
            raise HostFailure("The sandbox ended while it was being entered; try again.") from None
        raise NotFound("network", network, _NOT_HERE.format(network)) from None
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield lambda family: _socket_in(inside, home, family)
    finally:
        os.close(inside)
        os.close(home)


def status(state_dir: Path) -> tuple[Record, list[Member]] | None:
    """Return the sandbox and the processes in it besides its holder; None if there is no sandbox."""
    record = _read(state_dir)
    if record is None or _anchor(record) is None:
        return None
    members = [Member(pid=pid, command=_command(pid)) for pid in _members(record)]
    return record, [member for member in members if member.pid != record.pid]


def remove(state_dir: Path, grace: float = 10.0) -> int:
    """End all that lives in the sandbox, guests too, and with it the sandbox; return how many processes ended.

    Raises Conflict while a `floe up` or a `floe agent` is in it. What does not end by itself within `grace` seconds is
    killed.
    """
    _require_root("floe sandbox remove")
    state_dir = state_dir.resolve()
    if not (state_dir / "sandbox").is_dir():
        return 0
    lock = _lock(state_dir)
    try:
        record = _read(state_dir)
        ended = 0
        if record is not None:
            # More than once, as what is ended last may have started something meanwhile.
            deadline = time.monotonic() + grace
            while pids := _members(record):
                late = time.monotonic() >= deadline
                if time.monotonic() >= deadline + grace:
                    raise HostFailure(f"These processes in the sandbox of {state_dir} do not end: {pids}.")
                guests = [pid for pid in pids if pid != record.pid] or pids
                ended += _end(guests, signal.SIGKILL if late else signal.SIGTERM, max(deadline - time.monotonic(), 1))
        _record_file(state_dir).unlink(missing_ok=True)
        return ended
    finally:
        os.close(lock)


def _socket_in(namespace: int, home: int, family: int) -> socket.socket:
    """Return a new TCP socket in a network namespace; this thread is in `home` again afterwards."""
    kernel.setns(namespace, kernel.CLONE_NEWNET)
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    finally:
        kernel.setns(home, kernel.CLONE_NEWNET)


def _require_root(what: str) -> None:
    if os.geteuid() != 0:
        raise Forbidden(f"{what} needs root, to make and enter network and mount namespaces; run it with sudo.")


def _require_one_thread() -> None:
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("a process with more than one thread cannot enter a mount namespace")


def _lock(state_dir: Path) -> int:
    fd = os.open(state_dir / "sandbox" / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Conflict(f"A floe up or a floe agent is running in the sandbox of {state_dir}; stop it first.") from error
    return fd


def _record_file(state_dir: Path) -> Path:
    return state_dir / "sandbox" / "holder.json"


def _read(state_dir: Path) -> Record | None:
    try:
        record = Record(**json.loads(_record_file(state_dir).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return record if record.boot == _boot() else None


def _write(state_dir: Path, record: Record) -> None:
    new = _record_file(state_dir).with_suffix(".new")
    new.write_text(json.dumps(asdict(record)))
    new.replace(_record_file(state_dir))


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> int:
    # The name of a process may hold spaces and brackets; what follows the last bracket is numbers (proc(5)).
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _namespaces(pid: int) -> dict[str, int]:
    return {kind: Path(f"/proc/{pid}/ns/{kind}").stat().st_ino for kind in _KINDS}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _inside(pid: int, record: Record, kinds: Sequence[str] = _KINDS) -> bool:
    """Whether all (or these) namespaces of a process are the sandbox's; False for one that has gone."""
    try:
        return all(Path(f"/proc/{pid}/ns/{kind}").stat().st_ino == getattr(record, kind) for kind in kinds)
    except OSError:
        return False


def _anchor(record: Record | None) -> int | None:
    """Return a process through which the sandbox can be entered: its holder, or else any that lives in it."""
    if record is None:
        return None
    with contextlib.suppress(OSError):
        if _started(record.pid) == record.started and _inside(record.pid, record):
            return record.pid
    return next((pid for pid in _processes() if _inside(pid, record)), None)


def _members(record: Record) -> list[int]:
    # A network's DHCP server has a network and a mount namespace of its own, but shares the sandbox's UTS namespace.
    return [pid for pid in _processes() if pid != os.getpid() and _inside(pid, record, ("uts",))]


def _find(state_dir: Path) -> tuple[Record, int]:
    record = _read(state_dir)
    anchor = _anchor(record)
    if record is None or anchor is None:
        raise NotFound(
            "sandbox", message=f"There is no sandbox for {state_dir}; floe up --sandbox --state {state_dir} makes it."
        )
    return record, anchor


def _join(pid: int, record: Record) -> None:
    here = Path.cwd()
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise HostFailure("The sandbox ended while it was being entered; try again.") from error
    try:
        # Looked at again now that the descriptor pins the process: its number cannot be another's any more.
        if not _inside(pid, record):
            raise HostFailure("The sandbox ended while it was being entered; try again.")
        kernel.setns(fd, kernel.ALL)
    finally:
        os.close(fd)
    with contextlib.suppress(OSError):
        os.chdir(here)


def _start_holder(state_dir: Path, *, new: bool) -> Record:
    """Start a process that does nothing but live, in new namespaces or in this process's own, and record it."""

    def prepare() -> None:
        if new:
            kernel.unshare(kernel.ALL)
            os.umask(0o022)  # others than root live in there
            furnish(state_dir)

    pid = _detach(prepare)
    record = Record(boot=_boot(), pid=pid, started=_started(pid), **_namespaces(pid))
    _write(state_dir, record)
    return record


def _detach(prepare: Callable[[], None]) -> int:
    """Return the pid of a new process, nobody's child, that ran `prepare` and then became `sleep infinity`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _become_holder(prepare, reader, writer)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as answers:
        # The pipe closes when the holder has become what it is to be, or has failed.
        answer = answers.read().decode(errors="replace")
    kind, _, text = answer.partition(" ")
    if kind != "ok":
        raise HostFailure(f"The sandbox cannot be made: {text or 'its process ended at once'}.", stage="sandbox")
    return int(text)


def _become_holder(prepare: Callable[[], None], reader: int, writer: int) -> NoReturn:
    # Nothing but os._exit and exec may end a forked child: it must not run its parent's clean-up.
    try:
        os.close(reader)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        prepare()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.write(writer, f"ok {os.getpid()}".encode())
        os.execv("/bin/sleep", ["sleep", "infinity"])  # noqa: S606 - a fixed program
    except BaseException as error:
        os.write(writer, f"error {error}".encode())
        os._exit(1)


def _end(pids: Sequence[int], how: signal.Signals, seconds: float) -> int:
    """Send a signal to processes and wait until they have ended, at most so long; return how many did."""
    poll = select.poll()
    waiting: set[int] = set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            waiting.add(fd)
            poll.register(fd, select.POLLIN)
            signal.pidfd_send_signal(fd, how)
    count = len(waiting)
    deadline = time.monotonic() + seconds
    try:
        while waiting and (left := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                poll.unregister(fd)
                waiting.discard(fd)
                os.close(fd)
        return count - len(waiting)
    finally:
        for fd in waiting:
            os.close(fd)


def _network_namespace(network: str) -> str:
    name = namespace_name(network)
    if not (Path("/run/netns") / name).exists():
        raise NotFound("network", network, _NOT_HERE.format(network))
    return name
