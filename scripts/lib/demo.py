"""The demo: an ordinary user boots a real guest through the unmodified openstack client, and leaves nothing behind.

Run by `scripts/demo`, as root, when all is installed. Everything the user does goes through the client; what a look
at the host shows comes from `floe exec` and the state directory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from floe.cli import clouds_file
from floe.cli.client import Client

ROOT = Path(__file__).resolve().parents[2]
FLOE = ROOT / ".venv/bin/floe"
CLIENT = ROOT / ".venv-client/bin/openstack"
SERVER = "hello"
BOOT_SECONDS = 300  # emulated, on a loaded machine; about 10 on a quiet one

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """A step did not do what it should; the text says which and how."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demo keeps its things: one directory per checkout, so that an earlier run is found again.

    It is not in the checkout because sockets in it may have paths of 107 characters at most.
    """

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def key(self) -> Path:
        return self.root / "key"

    @property
    def pid(self) -> Path:
        return self.root / "up.pid"

    @property
    def log(self) -> Path:
        return self.root / "up.log"

    @property
    def clouds(self) -> Path:
        return self.root / "clouds.yaml"


def place() -> Place:
    digest = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    return Place(Path("/var/tmp") / f"floe-demo-{digest}")


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show that something is going on, and then how long it took."""
    start = time.monotonic()
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(f"[dim]...[/] {text}")
        yield
    console.print(f"[green]✓[/] {text} [dim]{time.monotonic() - start:.1f} s[/]")


def clean_environment() -> dict[str, str]:
    """Return the environment without anything that would turn the client or Floe to another cloud."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "FLOE_"))}


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with the openstack client and an entry in clouds.yaml."""

    at: Place
    cloud: str = "floe"

    def run(self, *words: str) -> str:
        environment = clean_environment() | {"OS_CLIENT_CONFIG_FILE": str(self.at.clouds), "OS_CLOUD": self.cloud}
        done = subprocess.run(
            [str(CLIENT), *words],
            cwd=self.at.root, env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise DemoFailed(f"openstack {shlex.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "-f", "json"))

    def say(self, *words: str) -> Any:
        """Do as `json`, and show the command as one would type it."""
        with step(f"[bold]openstack {shlex.join(words)}[/]"):
            return self.json(*words)


def floe(at: Place, *words: str) -> str:
    done = subprocess.run(
        [str(FLOE), words[0], "--state", str(at.state), *words[1:]],
        env=clean_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise DemoFailed(f"floe {shlex.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_for(what: str, seconds: float, found: Callable[[], Any], pause: float = 0.3) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(pause)
    return answer


# --- the cloud -------------------------------------------------------------------------------------------------------


def runs(at: Place) -> int | None:
    """Return the pid of the demo's `floe up`, if it runs."""
    try:
        pid = int(at.pid.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if b"up" in command and os.fsencode(at.state) in command else None


def free_port() -> int:
    """Return Floe's usual port if it is free, else any that is."""
    for port in (8774, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoFailed("no port is free on 127.0.0.1")


def start_cloud(at: Place, *flags: str) -> str:
    """Start `floe up` and return its line `floe: ready ...`."""
    at.root.mkdir(mode=0o711, exist_ok=True)
    words = [str(FLOE), "up", "--sandbox", "--state", str(at.state), "--listen", f"127.0.0.1:{free_port()}", *flags]
    with at.log.open("wb") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment(), start_new_session=True
        )
    at.pid.write_text(str(process.pid))

    def ready() -> str | None:
        if process.poll() is not None:
            raise DemoFailed(f"floe up ended with status {process.returncode}:\n{tail(at.log)}")
        return next((line for line in at.log.read_text().splitlines() if line.startswith("floe: ready")), None)

    line = str(wait_for("floe up to be ready", 120, ready, pause=0.1))
    at.clouds.touch(mode=0o600)
    at.clouds.write_text((at.state / "clouds.yaml").read_text())
    if owner := os.environ.get("SUDO_UID"):
        os.chown(at.clouds, int(owner), int(os.environ.get("SUDO_GID", owner)))
    return line


def end_cloud(at: Place) -> None:
    """Stop the cloud, end what lives in its sandbox, and remove the demo's directory."""
    if pid := runs(at):
        os.kill(pid, signal.SIGTERM)

        def gone() -> bool:
            # As our own child it must be waited for, or it stays as a zombie.
            try:
                return os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                return runs(at) is None

        wait_for("floe up to stop", 30, gone)
    if at.state.is_dir():
        floe(at, "sandbox", "remove")
    if at.root.is_dir():
        shutil.rmtree(at.root)


def tail(file: Path, lines: int = 15) -> str:
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


# --- what the host holds of a server ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """What the demo knows of its server and looks for on the host."""

    server_id: str
    address: str
    port_id: str
    mac: str
    network_id: str
    floating: str = ""
    """The address by which it is reached from outside."""


def traces(at: Place, guest: Guest) -> dict[str, int]:
    """Count what host and cloud hold of a server, by looking at the things themselves."""
    members = json.loads(floe(at, "sandbox", "status", "--json"))["members"]
    devices = json.loads(floe(at, "exec", "--", "ip", "-j", "link"))
    rules = floe(at, "exec", "--", "nft", "list", "ruleset")
    served = floe(at, "exec", "--", "sh", "-c", "cat /run/floe/*/dhcp/*/hosts 2> /dev/null || true")
    tap = f"tap{guest.port_id[:11]}"
    named = (guest.server_id, guest.port_id)
    return {
        "QEMU processes": sum("qemu-system" in m["command"] and guest.server_id in m["command"] for m in members),
        "tap devices": sum(device["ifname"] == tap for device in devices),
        "nftables lines": sum(tap in line or guest.mac in line for line in rules.splitlines()),
        "DHCP entries": served.count(guest.mac),
        "routers": floe(at, "exec", "--", "ip", "netns", "list").count("frtr-"),
        "libvirt domains": sum(holds(file, guest.server_id) for file in at.state.rglob("*.xml")),
        "files and folders": sum(any(name in path.name for name in named) for path in at.state.rglob("*")),
        "ports": len(User(at).json("port", "list", "--device-id", guest.server_id)),
        "allocations": allocations(at, guest.server_id),
    }


def holds(file: Path, text: str) -> bool:
    try:
        return text in file.read_text(errors="replace")
    except OSError:
        return False


def allocations(at: Place, server_id: str) -> int:
    """Ask placement, as the administrator, what the server holds."""
    admin = Client(clouds_file.access(at.state)["floe-admin"])
    return len(admin.get(f"/placement/allocations/{server_id}")["allocations"])


# --- the story -------------------------------------------------------------------------------------------------------


def prepare(at: Place, user: User, image: Path) -> None:
    """Do what a user does once: an image, a key, a rule that lets SSH in."""
    (at.root / "tiny.qcow2").symlink_to(image)
    made = user.say("image", "create", "--disk-format", "qcow2", "--file", "tiny.qcow2", "tiny")
    if made["status"] != "active":
        raise DemoFailed(f"the image is {made['status']}, not active")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(at.key)], check=True)
    user.say("keypair", "create", "--public-key", "key.pub", "mykey")
    user.say("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "22", "default")


def boot(at: Place, user: User) -> Guest:
    """Create the server, show how it comes to be, and wait until it asks for a login."""
    made = user.say("server", "create", "--image", "tiny", "--flavor", "m1.nano", "--key-name", "mykey", SERVER)
    follow = [str(FLOE), "trace", "--state", str(at.state), "--cloud", "floe", "--follow", made["id"]]
    subprocess.run(follow, env=clean_environment(), timeout=BOOT_SECONDS, check=False)
    shown = user.say("server", "show", SERVER)
    if shown["status"] != "ACTIVE":
        raise DemoFailed(f"the server is {shown['status']}: {shown.get('fault', 'no reason is known')}")
    (port,) = user.json("port", "list", "--server", made["id"], "--long")
    details = user.json("port", "show", port["ID"])
    guest = Guest(
        server_id=made["id"],
        address=details["fixed_ips"][0]["ip_address"],
        port_id=details["id"],
        mac=details["mac_address"],
        network_id=details["network_id"],
    )
    with step("the guest boots until it says [bold]login:[/]"):
        log = wait_for("login: on the console", BOOT_SECONDS, lambda: console_with_login(user), pause=1.0)
    quote([line for line in log.splitlines() if line.strip()][-6:])
    return guest


def console_with_login(user: User) -> str | None:
    log = user.run("console", "log", "show", SERVER)
    return log if "login:" in log else None


def printable(text: str) -> str:
    """Return text of a guest without what would drive the terminal or rich's markup."""
    plain = "".join(c for c in text if c == "\n" or c.isprintable())
    return plain.replace("[", "\\[")


def quote(lines: Sequence[str]) -> None:
    """Show what somebody else said."""
    for line in lines:
        console.print(f"  [dim]│[/] {printable(line)}")


def lead_in(user: User, guest: Guest) -> Guest:
    """Give the server an address of the external network."""
    made = user.say("floating", "ip", "create", "public")
    with step(f"[bold]openstack server add floating ip {SERVER} {made['floating_ip_address']}[/]"):
        user.run("server", "add", "floating", "ip", SERVER, made["floating_ip_address"])
    return replace(guest, floating=made["floating_ip_address"])


def log_in(at: Place, guest: Guest) -> None:
    """Log in from outside with the user's key, and show what the guest says of itself."""
    ssh = [
        "ssh", "-i", str(at.key), "-o", f"UserKnownHostsFile={at.root / 'known_hosts'}",
        "-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
        "-o", "LogLevel=ERROR", "-F", "none", f"floe@{guest.floating}", "hostname; ip -4 addr show eth0",
    ]  # fmt: skip
    words = [str(FLOE), "exec", "--state", str(at.state), "--", *ssh]
    errors = [""]

    def answer() -> str | None:
        done = subprocess.run(
            words, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        errors[0] = done.stderr.strip()
        return done.stdout if done.returncode == 0 else None

    with step(f"[bold]ssh -i key floe@{guest.floating} 'hostname; ip addr'[/]"):
        try:
            said = str(wait_for("SSH to answer", 60, answer, pause=1.0))
        except DemoFailed as error:
            raise DemoFailed(f"{error}: {errors[0]}") from error
    quote(said.splitlines())
    if said.split(maxsplit=1)[0] != SERVER or f" {guest.address}/" not in said:
        raise DemoFailed(f"the guest calls itself something else than {SERVER} at {guest.address}: {said!r}")


def leave_nothing(at: Place, user: User, guest: Guest) -> None:
    """Delete the server and show that host and cloud hold nothing of it."""
    with step("what the host holds of the server"):
        before = traces(at, guest)
    with step(f"[bold]openstack server delete --wait {SERVER}[/]"):
        user.run("server", "delete", "--wait", SERVER)
    with step(f"[bold]openstack floating ip delete {guest.floating}[/]"):
        user.run("floating", "ip", "delete", guest.floating)
    with step("what the host holds of it now"):
        after = traces(at, guest)
    table = Table("of this server", "while it ran", "now", box=None, pad_edge=False)
    for name, count in before.items():
        table.add_row(name, str(count), f"[green]{after[name]}[/]" if not after[name] else f"[red]{after[name]}[/]")
    console.print(table)
    unseen = [name for name, count in before.items() if not count]
    if unseen:
        raise DemoFailed(f"while the server ran, none of these was found, so the look proves nothing: {unseen}")
    left = [name for name, count in after.items() if count]
    if left:
        raise DemoFailed(f"the server is deleted, but this is left: {left}")


def how_to_use(at: Place) -> None:
    root = "" if "SUDO_UID" not in os.environ else "sudo "
    console.print(
        f"""
[bold]The cloud goes on running.[/] To use it:

  cd {ROOT}
  export OS_CLIENT_CONFIG_FILE={at.clouds} OS_CLOUD=floe
  .venv-client/bin/openstack server create --image tiny --flavor m1.nano \\
      --key-name mykey --wait again
  {root}.venv/bin/floe trace --state {at.state} again
  .venv-client/bin/openstack floating ip create public
  .venv-client/bin/openstack server add floating ip again ADDRESS
  {root}.venv/bin/floe exec --state {at.state} -- ssh -i {at.key} floe@ADDRESS

To end it:  scripts/demo --end
"""
    )


def stop_on_signal(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def refuse_foreign(at: Place) -> None:
    """Anybody may make a directory where the demo's is looked for: trust and remove only our own."""
    if at.root.is_symlink() or (at.root.exists() and at.root.stat().st_uid != os.geteuid()):
        raise DemoFailed(f"{at.root} belongs to another user; remove it first")
    if at.root.exists() and any(at.root.iterdir()) and not (at.log.exists() or at.pid.exists()):
        raise DemoFailed(f"{at.root} holds something else than a demo")


def story(at: Place, image: Path) -> None:
    """Tell it all."""
    with step("an earlier demo's leftovers are removed, if any"):
        end_cloud(at)
    with step("[bold]floe up --sandbox[/]"):
        line = start_cloud(at)
    quote([line])
    user = User(at)
    prepare(at, user, image)
    guest = lead_in(user, boot(at, user))
    log_in(at, guest)
    leave_nothing(at, user, guest)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--end", action="store_true")
    parser.add_argument("--at", type=Path, metavar="DIR", help="keep what the demo makes there")
    args = parser.parse_args(argv)
    at = Place(args.at.absolute()) if args.at else place()
    try:
        refuse_foreign(at)
    except DemoFailed as error:
        console.print(f"[bold red]The demo cannot start:[/] {error}")
        return 1
    if args.end:
        with step("the cloud ends"):
            end_cloud(at)
        return 0
    if runs(at):
        console.print("A cloud that --keep left is still running; end it first: scripts/demo --end")
        return 1
    os.environ |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    signal.signal(signal.SIGTERM, stop_on_signal)
    status, keep = 0, args.keep
    try:
        story(at, args.image.absolute())
        if keep:
            how_to_use(at)
        console.print("[bold green]The demo is done: a real guest, through an unmodified client.[/]")
    except DemoFailed as error:
        status, keep = 1, False
        console.print(f"[bold red]The demo failed:[/] {printable(str(error))}")
        if log := tail(at.log, 25):
            console.print(f"[dim]The last lines of floe up:[/]\n{printable(log)}")
    except KeyboardInterrupt:
        status, keep = 130, False
        console.print("interrupted")
    finally:
        if not keep:
            with step("the cloud ends"):
                end_cloud(at)
    return status


if __name__ == "__main__":
    sys.exit(main())
