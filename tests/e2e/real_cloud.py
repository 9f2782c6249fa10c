"""A real cloud for end-to-end tests: a `floe up` process with libvirt, in a sandbox and a directory of its own."""

from __future__ import annotations

import base64
import contextlib
import difflib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from floe.dataplane.linux.names import short

T = TypeVar("T")

FLOE = (sys.executable, "-m", "floe")
BOOT_SECONDS = 300.0
"""How long a guest may take to boot: emulated, on a loaded machine. About 12 on a quiet one."""

USER_DATA = '#!/bin/sh\nmkdir -p /www\necho "$(hostname) ran this" > /www/index.html\nhttpd -p 80 -h /www\n'


def eventually(what: str, find: Callable[[], T | None], seconds: float = 60.0, pause: float = 0.1) -> T:
    """Return what `find` finds once it finds something; the one place where these tests wait."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(pause)
    return found


_CONNECTIONS = re.compile(r"0x[0-9a-f]{8} \. 0x[0-9a-f]{8} ct count over")
"""What nft lists of those whose connections are counted: it comes and goes with them."""


def new_key(path: Path, kind: str) -> None:
    """Make a key for SSH, its public half beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "FLOE_"))}


class Api:
    """The cloud's API as one user sees it: plain JSON over HTTP."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)
        domain = {"name": "Default"}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": domain, "password": password}},
                },
                "scope": {"project": {"name": user, "domain": domain}},
            }
        }
        self._http.headers["X-Auth-Token"] = self.ask("POST", "/identity/v3/auth/tokens", body).headers[
            "X-Subject-Token"
        ]

    def ask(self, method: str, path: str, body: Any = None, version: str = "2.96") -> httpx.Response:
        """Return the whole reply. Fails unless it is a success."""
        content = body if isinstance(body, bytes) else None
        kind = "application/octet-stream" if content is not None else "application/json"
        headers = {"OpenStack-API-Version": f"compute {version}", "Content-Type": kind}
        data = content if content is not None else None if body is None else json.dumps(body).encode()
        reply = self._http.request(method, path, content=data, headers=headers)
        assert reply.status_code < 300, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply

    def get(self, path: str) -> Any:
        return self.ask("GET", path).json()

    def post(self, path: str, body: Any, version: str = "2.96") -> Any:
        return self.ask("POST", path, body, version).json()

    def status(self, path: str) -> int:
        return self._http.get(path, headers={"OpenStack-API-Version": "compute 2.96"}).status_code

    def close(self) -> None:
        self._http.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A server that was created, and the port it has."""

    id: str
    name: str
    password: str
    port_id: str
    network_id: str
    address: str
    mac: str


@dataclass
class RealCloud:
    """A cloud in `root`, a short path that is this cloud's alone.

    `tools` is the first directory on the PATH of `floe up`: what a test puts there stands for a broken machine.
    `wrapper` begins the command line of `floe up`, for example with what mounts something first; with `wraps_all`,
    that of every call of `floe`. Its keypair is of `key_type`, as ssh-keygen calls it.
    """

    root: Path
    flags: Sequence[str] = ()
    wrapper: Sequence[str] = ()
    wraps_all: bool = False
    key_type: str = "ed25519"
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _users: dict[str, Api] = field(default_factory=dict, init=False)
    _images: int = field(default=0, init=False)
    _listen: str = field(default="127.0.0.1:0", init=False)

    def __post_init__(self) -> None:
        self.state = self.root / "state"
        self.tools = self.root / "tools"
        self.log = self.root / "up.log"
        self.log.touch()
        self.key = self.root / "key"
        self.tools.mkdir()
        new_key(self.key, self.key_type)

    # -- the process ------------------------------------------------------------------------------------------------

    def command(self) -> list[str]:
        return [
            *(*self.wrapper, *FLOE, "up", "--sandbox", "--hypervisor", "libvirt"),
            *("--state", str(self.state), "--listen", self._listen, *self.flags),
        ]

    def start(self) -> None:
        """Start `floe up` and wait until it is ready."""
        environment = clean_environment()
        environment["PATH"] = f"{self.tools}:{environment['PATH']}"
        known = self.log.stat().st_size
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self._process = process

        def ready() -> str | None:
            new = self.log.read_bytes()[known:].decode()
            assert process.poll() is None, f"floe up ended with status {process.returncode}:\n{new}"
            return next((line for line in new.splitlines() if line.startswith("floe: ready at ")), None)

        self.url = eventually("floe up to be ready", ready, 120).split()[3]
        self._listen = self.url.removeprefix("http://")  # so that clients find it again after a restart

    def stop(self) -> int:
        """End `floe up` in order and return its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End `floe up` as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(60)
        self._process = None
        for user in self._users.values():
            user.close()
        self._users.clear()
        return status

    def remove(self) -> None:
        """End all that this cloud started and remove its files; whatever is then left of it is an error."""
        status = 0 if self._process is None else self.stop()
        self.floe("sandbox", "remove")
        left = self.processes()
        shutil.rmtree(self.root)
        assert (status, left) == (0, [])
        assert str(self.root) not in Path("/proc/mounts").read_text()

    def children(self) -> dict[int, str]:
        """Return the children of `floe up` and what each does, by the kernel's letters: Z has ended."""
        assert self._process is not None
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit():
                    state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                    if int(parent) == self._process.pid:
                        found[int(entry.name)] = state
        return found

    def processes(self) -> list[str]:
        """Return the command lines of all processes that name this cloud's directory."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if str(self.root).encode() + b"/" in line:
                found.append(line.replace(b"\0", b" ").decode(errors="replace"))
        return found

    def floe(self, command: str, *words: str, timeout: float = 120) -> str:
        done = self.try_floe(command, *words, timeout=timeout)
        assert done.returncode == 0, f"floe {command} {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def try_floe(self, command: str, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.floe_words(command, *words), stdin=subprocess.DEVNULL, env=clean_environment(),
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def floe_words(self, command: str, *words: str) -> list[str]:
        return [*(self.wrapper if self.wraps_all else ()), *FLOE, command, "--state", str(self.state), *words]

    def make_sandbox(self) -> None:
        """Make the sandbox before `floe up` does, so that something else can be started in it first."""
        make = "import sys; from pathlib import Path; from floe.cli.sandbox import enter; enter(Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", make, str(self.state)], env=clean_environment(), check=True, timeout=60)

    # -- as a user --------------------------------------------------------------------------------------------------

    def user(self, name: str = "demo") -> Api:
        """Return the API as `demo` or `admin` sees it."""
        if name not in self._users:
            passwords = json.loads((self.state / "secrets.json").read_text())["passwords"]
            self._users[name] = Api(self.url, name, passwords[name])
        return self._users[name]

    def network(self) -> str:
        """Return the id of the network that every cloud begins with."""
        (network,) = self.user().get("/network/v2.0/networks?name=private")["networks"]
        return str(network["id"])

    def new_network(self, cidr: str) -> str:
        network = self.user().post("/network/v2.0/networks", {"network": {"name": f"net {cidr}"}})["network"]["id"]
        self.user().post("/network/v2.0/subnets", {"subnet": {"network_id": network, "ip_version": 4, "cidr": cidr}})
        return str(network)

    def upload(self, data: bytes, disk_format: str = "raw", **properties: str) -> str:
        """Return the id of a new image with these bytes."""
        self._images += 1
        kind = {"name": f"image {self._images}", "disk_format": disk_format, "container_format": "bare"}
        image = str(self.user().post("/image/v2/images", kind | properties)["id"])
        self.user().ask("PUT", f"/image/v2/images/{image}/file", data)
        return image

    def upload_direct(self, guest_image: Path, words: str = "", **properties: str) -> str:
        """Return the id of a tiny image whose kernel the hypervisor loads; the first sector of its disk is free."""
        disk = self.root / "direct.raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", str(guest_image), str(disk)], check=True)
        files = {}
        for role, name in (("kernel_id", "vmlinuz"), ("ramdisk_id", "initrd")):
            # From the partition that it otherwise boots from.
            read = ["mcopy", "-i", f"{disk}@@1M", f"::{name}", "-"]
            files[role] = self.upload(subprocess.run(read, check=True, capture_output=True).stdout)
        disk.unlink()
        line = f"root=LABEL=floe-root console=ttyS0,115200 quiet net.ifnames=0 mitigations=off {words}".rstrip()
        return self.upload(guest_image.read_bytes(), "qcow2", os_command_line=line, **files, **properties)

    def let_in(self, *ports: int) -> None:
        """Make a keypair `key` of this cloud's key, and let everybody in to these ports of the default group."""
        key = {"name": "key", "type": "ssh", "public_key": self.key.with_suffix(".pub").read_text().strip()}
        self.user().post("/compute/v2.1/os-keypairs", {"keypair": key})
        groups = self.user().get("/network/v2.0/security-groups")["security_groups"]
        default = next(group["id"] for group in groups if group["name"] == "default")
        for port in ports:
            self.allow(default, "tcp", port)

    def allow(self, group: str, protocol: str, port: int | None = None) -> str:
        """Let everybody in to members of a security group, and return the id of the rule."""
        rule = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", "protocol": protocol}
        if port is not None:
            rule |= {"port_range_min": port, "port_range_max": port}
        made = self.user().post("/network/v2.0/security-group-rules", {"security_group_rule": rule})
        return str(made["security_group_rule"]["id"])

    def create(
        self, name: str, image: str, *, network: str | None = None, version: str = "2.96", **fields: Any
    ) -> tuple[str, str]:
        """Ask for a server and return its id and its password."""
        (flavor,) = (f["id"] for f in self.user().get("/compute/v2.1/flavors")["flavors"] if f["name"] == "m1.nano")
        body = {"name": name, "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network or self.network()}]}
        made = self.user().post("/compute/v2.1/servers", {"server": body | fields}, version)["server"]
        return made["id"], made["adminPass"]

    def server(self, server_id: str) -> Any:
        return self.user().get(f"/compute/v2.1/servers/{server_id}")["server"]

    def settled(self, server_id: str) -> Any:
        """Wait until a server is not being built any more and return it."""

        def built() -> Any:
            server = self.server(server_id)
            return server if server["status"] != "BUILD" else None

        return eventually(f"server {server_id} to be built or to fail", built, 120)

    def boot(self, name: str, image: str, **fields: Any) -> Guest:
        """Create a server, wait until it is active and return it with its port."""
        return self.active(name, *self.create(name, image, **fields))

    def active(self, name: str, server_id: str, password: str, network: str = "") -> Guest:
        """Wait until a server is active and return it with its port, that on `network` if it has several."""
        server = self.settled(server_id)
        assert server["status"] == "ACTIVE", server.get("fault")
        on = f"&network_id={network}" if network else ""
        (port,) = self.user().get(f"/network/v2.0/ports?device_id={server_id}{on}")["ports"]
        return Guest(
            id=server_id,
            name=name,
            password=password,
            port_id=port["id"],
            network_id=port["network_id"],
            address=port["fixed_ips"][0]["ip_address"],
            mac=port["mac_address"],
        )

    def delete(self, server_id: str) -> None:
        """Delete a server and wait until it is gone."""
        self.user().ask("DELETE", f"/compute/v2.1/servers/{server_id}")
        path = f"/compute/v2.1/servers/{server_id}"
        eventually(f"server {server_id} to be gone", lambda: self.user().status(path) == 404)

    def console(self, server_id: str) -> str:
        answer = self.user().post(f"/compute/v2.1/servers/{server_id}/action", {"os-getConsoleOutput": {}})
        return str(answer["output"])

    def booted(self, guest: Guest) -> str:
        """Wait until a guest asks for a login and return its console."""

        def asks() -> str | None:
            text = self.console(guest.id)
            return text if "login:" in text else None

        return eventually(f"{guest.name} to say login:", asks, BOOT_SECONDS, pause=0.5)

    # -- inside guest and host --------------------------------------------------------------------------------------

    def try_ssh(
        self, guest: Guest, command: str, *options: str, user: str = "root", key: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        words = self._ssh_words(guest, command, *options, user=user, key=key)
        return self.try_floe("exec", "--network", guest.network_id, "--", *words)

    def _ssh_words(
        self, guest: Guest, command: str, *options: str, user: str = "root", key: Path | None = None
    ) -> list[str]:
        return [
            *("ssh", "-F", "none", "-i", str(key or self.key), *options),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
            *("-o", "ConnectTimeout=10", f"{user}@{guest.address}", command),
        ]

    def put(self, guest: Guest, files: Iterable[Path], folder: str) -> None:
        """Copy files into a folder of a guest, with their modes."""
        archive = self.root / "put.tar"
        with tarfile.open(archive, "w") as tar:
            for file in files:
                tar.add(file.resolve(), file.name)
        said = self.try_floe(
            "exec", "--network", guest.network_id, "--", "sh", "-c", f'exec "$@" < {archive}', "sh",
            *self._ssh_words(guest, f"mkdir -p {folder} && tar -x -C {folder}"),
        )  # fmt: skip
        archive.unlink()
        assert said.returncode == 0, said.stderr

    def ssh(self, guest: Guest, command: str) -> str:
        """Run a command in a guest, as root there, and return what it says."""

        def run() -> subprocess.CompletedProcess[str] | None:
            done = self.try_ssh(guest, command, "-o", "BatchMode=yes")
            return done if done.returncode != 255 else None  # 255: no connection

        done = eventually(f"SSH to {guest.name}", run, 120, pause=0.5)
        assert done.returncode == 0, f"{command} in {guest.name}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout

    def lets_in_by_its_key_alone(self, guest: Guest) -> bool:
        """Say whether one logs in to a guest by the cloud's key, and not by another one of its type."""
        self.ssh(guest, "true")
        other = self.root / "other-key"
        if not other.exists():
            new_key(other, self.key_type)
        done = self.try_ssh(guest, "true", "-o", "BatchMode=yes", key=other)
        return done.returncode == 255 and "Permission denied" in done.stderr

    def inside(self, *words: str) -> str:
        return self.floe("exec", "--", *words)

    def qemu(self, server_id: str) -> list[int]:
        """Return the process ids of a server's guest."""
        return [pid for pid, line in self._members() if "qemu-system" in line and server_id in line]

    def _members(self) -> Iterable[tuple[int, str]]:
        members = json.loads(self.floe("sandbox", "status", "--json"))["members"]
        return [(member["pid"], member["command"]) for member in members]

    def holdings(self) -> dict[str, Any]:
        """Return all that host and cloud hold of servers, by looking at the things themselves."""
        admin = self.user("admin")
        members = [line for _, line in self._members()]
        providers = admin.get("/placement/resource_providers")["resource_providers"]
        # Files are listed as the sandbox sees them: a test may have mounted something there.
        look = f"cd {self.state}/hosts; ls */guests; find /run/floe -mindepth 3 | sort; ls images/*.part* 2> /dev/null"
        commands = (look, "ip -br link", "ls /run/netns", "nft -s list ruleset")
        said = self.inside("sh", "-c", "; echo ---; ".join(commands)).split("---\n")
        # What libvirt knows is what is defined; its status of a guest, in `run`, has been seen to outlive that.
        xml = (file for file in self.root.rglob("*.xml") if not {"cache", "run"} & {*file.relative_to(self.root).parts})
        return {
            "guests": sorted(line for line in members if "qemu-system" in line),
            "DHCP servers": sorted(line for line in members if line.startswith("dnsmasq")),
            "domains": sorted(map(str, xml)),
            "ports": sorted(port["id"] for port in admin.get("/network/v2.0/ports")["ports"] if port["device_id"]),
            "usages": [admin.get(f"/placement/resource_providers/{p['uuid']}/usages")["usages"] for p in providers],
            "files": said[0].splitlines(),
            "devices": sorted(line.split()[0] for line in said[1].splitlines()),
            "namespaces": said[2].splitlines(),
            "rules": [line for line in said[3].splitlines() if not _CONNECTIONS.search(line)],
        }

    def cached(self, image_id: str) -> str:
        """Return where the host keeps its copy of an image."""
        return f"{self.state}/hosts/images/{self.user().get(f'/image/v2/images/{image_id}')['os_hash_value']}"

    def dhcp_servers(self, network_id: str) -> list[int]:
        """Return the process ids of a network's DHCP servers."""
        return [pid for pid, line in self._members() if line.startswith("dnsmasq") and short(network_id) in line]


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A cloud with two guests on one network: `alpha` told by the metadata service, `beta` by its config drive."""

    cloud: RealCloud
    image: str
    alpha: Guest
    beta: Guest
    group: str
    """The default security group: both are in it, and it lets SSH in."""


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what is held more and less than before, a line each; rules count by what they say, not by their order."""
    lines = []
    for kind, held in before.items():
        old, new = sorted(map(str, held)), sorted(map(str, after[kind]))
        lines += [f"{kind}: {line}" for line in difflib.ndiff(old, new) if line[0] in "+-"]
    return lines


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
