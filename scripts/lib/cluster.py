"""A cluster on one machine: PostgreSQL, NATS, two APIs behind one address, two conductors, agents.

With libvirt each agent has a state directory and a sandbox of its own, as it has a machine elsewhere.

Everything is in one directory, and every process is found by a mark that it was started with, so that whatever died,
the next call knows what is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import cluster_files
import cluster_guests
import cluster_processes
import postgres_server
from cluster_plan import APIS, CONDUCTORS, ENGINES, LIBVIRT, PROXY, PROXY_STATE, ClusterFailed, Plan
from cluster_processes import Known

from floe.cli import clouds_file
from floe.cli.client import Client
from floe.core.errors import FloeError

_SECONDS = 180.0
"""For which anything is waited for, on a machine that does much else."""
_ORDERLY = 15.0
"""Seconds in which a process that was told to stop has to."""
_LAST = 5.0
"""The same where all of it is removed anyway."""
_TRIES = 10
"""Times that what is left is killed: whoever is dying may have started more."""


class Cluster:
    """A cluster in a directory. `tell` hears how far a start is.

    With `bound` its processes end with the thread that started them, as those of tests should.
    """

    def __init__(
        self, folder: Path, plan: Plan, *, tell: Callable[[str], None] = lambda _: None, bound: bool = False
    ) -> None:
        self.folder, self.plan, self._tell, self._bound = folder, plan, tell, bound
        self.databases: dict[str, str] = {}
        """Where processes find the database that find it elsewhere than the others, by their names."""
        self.releases: dict[str, Path] = {}
        """Where the source of processes is that are of another release, by their names."""
        self.wrapped: dict[str, list[str]] = {}
        """Words before those that start processes, by their names."""
        self._ours: dict[int, subprocess.Popen[bytes]] = {}
        self._admin: Client | None = None

    @property
    def roles(self) -> list[str]:
        """The names of the processes of Floe."""
        return [*APIS, *CONDUCTORS, *self.plan.shape.names()]

    @property
    def hosts(self) -> list[str]:
        """The names of all hosts."""
        return [host for agent in self.plan.shape.names() for host in self.plan.shape.hosts(agent)]

    @property
    def real(self) -> bool:
        """Whether guests are real ones."""
        return self.plan.shape.hypervisor == LIBVIRT

    @property
    def image(self) -> Path:
        """An image that guests boot from; of fake ones it is some bytes."""
        return self.folder / ("tiny.qcow2" if self.real else "tiny.raw")

    def state_of(self, agent: str) -> Path:
        """Return the state directory of an agent: the one that all share, where hosts are fake."""
        return cluster_guests.state_of(self.folder, agent) if self.real else self.state

    @property
    def state(self) -> Path:
        """The state directory that the roles share, but for agents with real guests."""
        return self.folder / "state"

    @property
    def clouds(self) -> Path:
        """The `clouds.yaml` for users."""
        return self.folder / "clouds.yaml"

    @property
    def url(self) -> str:
        """The address of all APIs."""
        return self.url_of(PROXY)

    @property
    def database(self) -> str:
        """The database's address."""
        return self.database_at(self.plan.ports["postgres"])

    def database_at(self, port: int) -> str:
        """Return the database's address where another port of this machine leads to it."""
        return f"postgresql://floe:{self.plan.password}@127.0.0.1:{port}/floe"

    def url_of(self, name: str) -> str:
        """Return where a process answers HTTP."""
        return f"http://127.0.0.1:{self.plan.ports[name]}"

    def log(self, name: str) -> str:
        """Return what a process said."""
        with contextlib.suppress(FileNotFoundError):
            return self._log(name).read_text(errors="replace")
        return ""

    def running(self) -> dict[str, int]:
        """Return the processes that run, by name."""
        return cluster_processes.running(self.folder)

    def start(self) -> list[str]:
        """Start whatever does not run, wait until all of it serves, and return what was started.

        What was frozen goes on.
        """
        began = time.monotonic()
        self.prepare()
        for name in self.running():
            self.thaw(name)
        missing = [name for name in (*ENGINES, PROXY, *self.roles) if name not in self.running()]
        # An agent that announces itself before a conductor listens is noticed at its next heartbeat only.
        agents = [name for name in missing if name.startswith("agent-")]
        others = [name for name in missing if name in self.roles and name not in agents]
        for name in (each for each in missing if each not in self.roles):
            self.begin(name)
            self.wait(name)
            self._tell(f"{name} is there")
        for name in others:
            self.begin(name)
        for name in others:
            self._await(lambda name=name: self._began(name), f"{name} does not start", name)
        for name in agents:
            self.begin(name)
        for name in (*agents, *others):  # who sees no host is not ready
            self.wait(name)
            self._tell(f"{name} is ready ({time.monotonic() - began:.0f} s)")
        cluster_files.give_to_asker(self.state / "clouds.yaml", self.clouds)
        self._await(self._whole, "the APIs do not see every conductor and host up", PROXY)
        return missing

    def begin(self, name: str) -> None:
        """Start a process, and do not wait for it."""
        words, user = self._command(name)
        if name == "postgres" and not self._of(name):
            # A dead one that nobody has buried yet would be taken for a living one.
            (self._home(name) / "data" / "postmaster.pid").unlink(missing_ok=True)
        before = ["setpriv", "--pdeathsig", "KILL"] if self._bound else []
        before += self.wrapped.get(name, ())
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("OS_", "FLOE_", "PG"))
        } | cluster_processes.marked(self.folder, name)
        if name in self.releases:
            environment["PYTHONPATH"] = str(self.releases[name])
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                [*before, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._home(name),
                env=environment, start_new_session=True, **postgres_server.as_user(user),
            )  # fmt: skip
        self._ours[process.pid] = process

    def wait(self, name: str) -> None:
        """Wait until a process serves. Raises ClusterFailed when it ended, or does not for long."""
        self._await(lambda: self._serves(name), f"{name} is not ready", name)
        if name == "postgres" and not self.rows("SELECT 1 FROM pg_database WHERE datname = 'floe'", "postgres"):
            self._psql("CREATE DATABASE floe", "postgres")

    def kill(self, name: str) -> None:
        """Kill a process, as a power loss would."""
        self._end(name, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """Have a process stop in order."""
        self._end(name, signal.SIGINT if name == "postgres" else signal.SIGTERM)

    def stop_immediately(self) -> None:
        """Have PostgreSQL stop as it does when the machine goes down under it: it recovers at its next start."""
        self._end("postgres", signal.SIGQUIT)

    def freeze(self, name: str) -> None:
        """Have a process and all that it started do nothing any more, with every connection open."""
        with Known(lambda: self._of(name)) as known:
            known.tell(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Have it go on."""
        with Known(lambda: self._of(name)) as known:
            known.tell(signal.SIGCONT)

    def healthz(self, name: str) -> tuple[int, dict[str, str]]:
        """Return how a role says that it is: 0 and nothing where it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url_of(name)}/healthz", timeout=10) as reply:
                return reply.status, json.load(reply)["parts"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["parts"]
        except (OSError, ValueError):
            return 0, {}

    def serves_from_all(self) -> bool:
        """Say whether the proxy gives requests to every API: it notices within a second what has become of one."""
        try:
            with urllib.request.urlopen(self.url_of(PROXY_STATE), timeout=10) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def rows(self, query: str, database: str = "floe") -> list[list[str]]:
        """Look into the database: rows of texts."""
        return [line.split("\t") for line in self._psql(query, database).splitlines()]

    def program(self, name: str, *words: str) -> str:
        """Run a program of PostgreSQL that knows the password, and return what it prints."""
        programs = postgres_server.programs()
        assert programs is not None
        return subprocess.run(
            [str(programs / name), *words], capture_output=True, text=True, check=True, cwd="/", timeout=60,
            env={**os.environ, "PGPASSWORD": self.plan.password, "PGCONNECT_TIMEOUT": "5"},
        ).stdout  # fmt: skip

    def client(self, cloud: str = "floe-admin") -> Client:
        """Return who may do what somebody of `clouds.yaml` may."""
        return Client(clouds_file.access(self.state)[cloud])

    def close(self) -> None:
        """End every process, in order if it does; the directory stays."""
        end_all(self.folder)
        for process in self._ours.values():
            process.wait()
        self._ours.clear()

    def prepare(self) -> None:
        """Make the files of every process, as far as they are not there."""
        ports, shape = self.plan.ports, self.plan.shape
        (self.folder / "log").mkdir(mode=0o711, exist_ok=True)
        members: dict[str, list[tuple[str, str]]] = {name: [("control", name)] for name in (*APIS, *CONDUCTORS)}
        members |= {agent: [("host", host) for host in shape.hosts(agent)] for agent in shape.names()}
        cluster_files.make_postgres(self.folder / "postgres", ports["postgres"], self.plan.password)
        cluster_files.make_bus(self.folder / "nats", ports["nats"], self.folder / "keys", members)
        cluster_files.make_proxy(
            self.folder / "proxy", ports[PROXY], ports[PROXY_STATE], {name: ports[name] for name in APIS}
        )
        settings = {
            "state": str(self.state),
            "database": self.database,
            "bus": f"nats://127.0.0.1:{ports['nats']}",
            "public_url": self.url,
            "trusted_proxies": "127.0.0.1",
            "hypervisor": shape.hypervisor,
            "fake_hosts": shape.hosts_each,
            "fake_delay": shape.fake_delay,
        }
        if self.real:
            settings["images_from"] = self.url
        cluster_files.write_own(
            self.folder / "floe.toml", "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        )
        if self.real:
            cluster_guests.give_image(self.image)
        else:
            self.image.write_bytes(bytes(4096))

    def _command(self, name: str) -> tuple[list[str], pwd.struct_passwd | None]:
        """Return the words that start a process, and whom it runs as; None for who runs this."""
        home = self._home(name)
        if name == "postgres":
            programs = postgres_server.programs()
            assert programs is not None
            return [str(programs / "postgres"), "-D", str(home / "data")], postgres_server.unprivileged()
        if name == "nats":
            return ["nats-server", "-c", str(home / "nats.conf")], cluster_files.nobody()
        if name == PROXY:
            return ["haproxy", "-db", "-f", str(home / "haproxy.cfg")], cluster_files.nobody()
        role, _, number = name.partition("-")
        at = f"127.0.0.1:{self.plan.ports[name]}"
        words = [sys.executable, "-m", "floe", role, "--config", str(self.folder / "floe.toml")]
        words += ["--bus-key", str(self.folder / "keys" / f"{name}.seed")]
        words += ["--listen" if role == "api" else "--status-listen", at]
        if name in self.databases:
            words += ["--database", self.databases[name]]
        if role == "api":
            words += cluster_files.keeps_the_bus(self.folder / "nats")
        if role == "agent":
            words += ["--host", f"host-{number}"]
            words += cluster_guests.words(self.folder, name, self.plan.shape) if self.real else []
        elif name != "api-1":  # whose clouds.yaml is the state directory's
            words += ["--instance", number]
        return words, None

    def _home(self, name: str) -> Path:
        return self.folder / name if name in {*ENGINES, PROXY} else self.folder

    def _log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"

    def _began(self, name: str) -> bool:
        """Say whether a role has begun, whatever it misses."""
        status, parts = self.healthz(name)
        return bool(status) and "process" not in parts

    def _serves(self, name: str) -> bool:
        if name in self.roles:
            return self.healthz(name)[0] == 200
        if name == "postgres":
            with contextlib.suppress(subprocess.CalledProcessError):
                return bool(self.rows("SELECT 1", "postgres"))
            return False
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.plan.ports[name]), timeout=5):
            return True
        return False

    def _whole(self) -> bool:
        """Say whether the cloud itself knows of every part, asked as an administrator."""
        self._admin = self._admin or self.client()
        try:
            found = self._admin.get("/compute/v2.1/os-services")["services"]
        except FloeError:
            self._admin = None
            return False
        up = {(each["binary"], each["host"]) for each in found if each["state"] == "up"}
        conductors = sum(binary == "nova-conductor" for binary, _ in up)
        return conductors >= len(CONDUCTORS) and {("nova-compute", host) for host in self.hosts} <= up

    def _await(self, condition: Callable[[], bool], what: str, name: str) -> None:
        end = time.monotonic() + _SECONDS
        while not condition():
            self.reap()
            if name not in self.running():
                raise ClusterFailed(f"{what}: it ended. It said last:\n{cluster_files.tail(self.log(name))}")
            if time.monotonic() > end:
                raise ClusterFailed(
                    f"{what}, after {_SECONDS:.0f} s. It said last:\n{cluster_files.tail(self.log(name))}"
                )
            time.sleep(0.1)

    def _end(self, name: str, number: signal.Signals) -> None:
        """Tell a process, and wait until it and all that it started have ended."""
        with Known(lambda: self._of(name)) as all_of_it, Known(lambda: {self.running().get(name, -1)} - {-1}) as known:
            known.tell(number)
            if not all_of_it.ended(_ORDERLY):
                raise ClusterFailed(f"{name} does not stop. It said last:\n{cluster_files.tail(self.log(name))}")
        self.reap()

    def _of(self, name: str) -> set[int]:
        return cluster_processes.of_name(self.folder, name)

    def reap(self) -> None:
        """Bury those that this process started and that have ended."""
        for pid, process in list(self._ours.items()):
            if process.poll() is not None:
                del self._ours[pid]

    def _psql(self, statement: str, database: str) -> str:
        address = ["-h", "127.0.0.1", "-p", str(self.plan.ports["postgres"]), "-U", "floe", "-d", database]
        how = ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
        return self.program("psql", *how, *address, "-c", statement)


def end_all(folder: Path) -> bool:
    """End every process that was started for a directory, in order if it does. Say whether there was any."""

    def everything() -> set[int]:
        return cluster_processes.everything(folder)

    with Known(everything) as found:
        found.tell(signal.SIGCONT)
    for late in (set(ENGINES), {"postgres"}, set[str]()):

        def now(late: set[str] = late) -> set[int]:
            return {pid for name, pid in cluster_processes.running(folder).items() if name not in late}

        with Known(now) as leaving:
            # PostgreSQL takes SIGTERM as: once all clients have gone.
            leaving.tell(signal.SIGTERM if late else signal.SIGINT)
            leaving.ended(_LAST)
    for _ in range(_TRIES):
        with Known(everything) as stubborn:  # and what was started meanwhile
            if not stubborn.pids:
                cluster_guests.end_all(folder)  # those whom nobody was left with that has the mark
                return bool(found.pids)
            stubborn.tell(signal.SIGKILL)
            stubborn.ended(_ORDERLY)
    raise ClusterFailed(f"these processes do not end: {sorted(everything())}")
