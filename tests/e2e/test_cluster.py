"""Real guests in a cluster on one machine: whatever process of Floe dies, guests live on and builds are finished."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_plan import planned
from cluster_processes import everything
from real_cloud import BOOT_SECONDS, clean_environment, eventually

from cluster import Cluster, end_all

pytestmark = pytest.mark.e2e

MARKS = b"""#!/bin/sh
cat > /usr/sbin/mark << 'END'
#!/bin/sh
mkdir -p /second; mount /dev/vdb /second
echo boot >> /marks; echo boot >> /second/marks
echo "marks: $(wc -l < /marks) and $(wc -l < /second/marks)." > /dev/ttyS0
umount /second; sync
END
chmod 755 /usr/sbin/mark; echo '::once:/usr/sbin/mark' >> /etc/inittab; /usr/sbin/mark
"""
"""Has a guest count its boots on both of its disks, and say so."""
COMMAND = Path(__file__).parents[2] / "scripts" / "lib" / "cluster_command.py"


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(COMMAND), "--dir", str(folder), *words],
        capture_output=True, text=True, check=False, timeout=300, env=clean_environment(),
    )  # fmt: skip


@pytest.fixture
def folder(guest_image: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="floe-e2e-", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "c"
        end_all(Path(name) / "c")


class Place:
    """The cluster of a directory, as its user and its operator see it."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder, planned(folder))
        self._user, self._admin = self.cluster.client("floe"), self.cluster.client()

    def openstack(self, *words: str) -> str:
        done = subprocess.run(
            [os.environ["OPENSTACK_CLIENT"], *words], capture_output=True, text=True, check=False, timeout=180,
            env=clean_environment() | {"OS_CLIENT_CONFIG_FILE": str(self.cluster.clouds), "OS_CLOUD": "floe"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def floe(self, *words: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "floe", *words, "--state", str(state or self.cluster.state)],
            capture_output=True, text=True, check=False, timeout=60, env=clean_environment(),
        )  # fmt: skip

    def create_marking(self, name: str) -> str:
        """Ask for a server that counts its boots on two disks, without any network, and return its id."""
        more = {"name": name, "ram": 128, "vcpus": 1, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 1}
        flavor = self._admin.post("/compute/v2.1/flavors", {"flavor": more})["flavor"]["id"]
        (image,) = self._user.get("/image/v2/images?name=tiny")["images"]
        body = {"name": name, "imageRef": image["id"], "flavorRef": flavor, "networks": "none", "config_drive": True}
        data = {"user_data": base64.b64encode(MARKS).decode()}
        return str(self._user.post("/compute/v2.1/servers", {"server": body | data})["server"]["id"])

    def act(self, server: str, action: str) -> None:
        """Have an administrator do something with a server."""
        self._admin.post(f"/compute/v2.1/servers/{server}/action", {action: None})

    def create(self, name: str) -> str:
        """Ask for a server like the one named `first`, and return its id."""
        (image,) = self._user.get("/image/v2/images?name=tiny")["images"]
        (flavor,) = (each for each in self._user.get("/compute/v2.1/flavors")["flavors"] if each["name"] == "m1.nano")
        body = {"name": name, "imageRef": image["id"], "flavorRef": flavor["id"], "networks": "auto"}
        return str(self._user.post("/compute/v2.1/servers", {"server": body})["server"]["id"])

    def becomes(self, server: str, status: str) -> None:
        path = f"/compute/v2.1/servers/{server}"
        eventually(f"{server} to be {status}", lambda: self._user.get(path)["server"]["status"] == status, 120)

    def console(self, server: str) -> str:
        answer = self._user.post(f"/compute/v2.1/servers/{server}/action", {"os-getConsoleOutput": {}})
        return str(answer["output"])

    def builder(self, server: str) -> str | None:
        """Return the conductor that is having a host build a server, None while nobody is."""
        found = self.cluster.rows(
            f"SELECT lease_owner FROM actions JOIN action_steps ON action_id = id AND name = 'spawn' "
            f"WHERE server_id = '{server}' AND actions.finished_at IS NULL AND lease_owner IS NOT NULL"
        )
        places = {
            file.parent.name: file.read_text().strip()
            for file in (self.cluster.state / "roles").glob("conductor-*/place")
        }
        return next((name for name, place in places.items() if found and place in found[0][0]), None)

    def host_of(self, server: str) -> str:
        """Return the agent whose host has a server."""
        (host,) = self.cluster.rows(f"SELECT host FROM servers WHERE id = '{server}'")
        return host[0].replace("host", "agent")

    def members(self) -> list[dict[str, Any]]:
        """Return all processes in sandboxes."""
        found = []
        for agent in self.cluster.plan.shape.names():
            told = self.floe("sandbox", "status", "--json", state=self.cluster.state_of(agent))
            found += json.loads(told.stdout)["members"]
        return found

    def qemu(self, server: str) -> list[int]:
        """Return the processes of a server's guest."""
        guests = (each for each in self.members() if "qemu-system" in each["command"])
        return [each["pid"] for each in guests if server in each["command"]]

    def left(self, server: str) -> list[str]:
        """Return what any host has of a server."""
        folder = self.cluster.folder
        places = [str(path) for path in folder.glob(f"host-*/hosts/*/guests/{server}")]
        domains = [str(path) for path in folder.glob("host-*/libvirt/**/*.xml") if server in path.read_text()]
        return places + domains + [str(pid) for pid in self.qemu(server)]


def test_guests_of_a_cluster_outlive_whoever_made_them(folder: Path) -> None:
    told = command(folder, "--hypervisor", "libvirt")
    assert told.returncode == 0, told.stderr
    assert any(line.startswith("cluster: ready") for line in told.stdout.splitlines())
    assert "networks do not reach from one to another" in told.stdout
    place = Place(folder)
    cluster = place.cluster

    place.openstack("image", "create", "--disk-format", "qcow2", "--file", str(cluster.image), "tiny")
    shown = place.openstack(
        *("server", "create", "--image", "tiny", "--flavor", "m1.nano", "--wait", "first"),
        *("-f", "json", "-c", "status", "-c", "id"),
    )
    first = json.loads(shown)["id"]
    assert json.loads(shown)["status"] == "ACTIVE"

    second = built_although_its_conductor_dies(place)
    assert len(place.qemu(second)) == 1
    eventually("first to say login:", lambda: "login:" in place.console(first), BOOT_SECONDS, pause=0.5)
    assert "login:" in place.openstack("console", "log", "show", "first")

    moved_with_all_that_is_on_its_disks(place)

    (pid,) = place.qemu(first)
    cluster.kill(place.host_of(first))
    assert place.qemu(first) == [pid]
    again = command(folder, "--hypervisor", "libvirt")
    assert again.returncode == 0, again.stderr
    assert place.qemu(first) == [pid]
    place.becomes(first, "ACTIVE")

    (ended,) = place.qemu(second)
    os.kill(ended, signal.SIGKILL)  # behind everybody's back
    place.becomes(second, "SHUTOFF")
    place.openstack("server", "delete", "--wait", second)
    assert place.left(second) == []
    audited = place.floe("audit")
    assert (audited.returncode, audited.stdout) == (0, "nothing found\n"), audited.stdout + audited.stderr

    killed_and_ended(folder)


def built_although_its_conductor_dies(place: Place) -> str:
    """Have the conductor of a build killed while the host is at it, and return the server's id."""
    cluster = place.cluster
    for agent in cluster.plan.shape.names():
        cluster.freeze(agent)
    server = place.create("second")
    conductor = eventually("a conductor to have it built", lambda: place.builder(server), 30)
    cluster.kill(conductor)
    for agent in cluster.plan.shape.names():
        cluster.thaw(agent)
    place.becomes(server, "ACTIVE")
    return server


def moved_with_all_that_is_on_its_disks(place: Place) -> None:
    """Have a guest move to another host for good, and once more to one from which it goes back."""
    server = place.create_marking("mover")

    def said(marks: int) -> None:
        text = f"marks: {marks} and {marks}."
        eventually(f"the guest to say {text}", lambda: text in place.console(server), BOOT_SECONDS, pause=0.5)

    place.becomes(server, "ACTIVE")
    said(1)
    first = place.host_of(server)
    place.act(server, "migrate")
    place.becomes(server, "VERIFY_RESIZE")
    said(2)
    place.act(server, "confirmResize")
    place.becomes(server, "ACTIVE")
    second = place.host_of(server)
    assert second != first
    assert {Path(path).parents[3].name for path in place.left(server) if "guests" in path} == {
        second.replace("agent", "host")
    }
    place.act(server, "migrate")
    place.becomes(server, "VERIFY_RESIZE")
    said(3)
    assert place.host_of(server) != second
    place.act(server, "revertResize")
    place.becomes(server, "ACTIVE")
    assert place.host_of(server) == second
    said(3)  # what the other half wrote is gone with it
    assert "marks: 2 and 2." in place.console(server)
    place.openstack("server", "delete", "--wait", server)
    assert place.left(server) == []


def killed_and_ended(folder: Path) -> None:
    """Kill all but the guests, and have what is left removed."""
    cluster = Cluster(folder, planned(folder))
    holders = [json.loads(file.read_text())["pid"] for file in folder.glob("host-*/sandbox/holder.json")]
    for pid in (*cluster.running().values(), *holders):
        os.kill(pid, signal.SIGKILL)
    assert [line for line in naming(folder) if "qemu-system" in line], "the guest should have lived on"
    ended = command(folder, "--end")
    assert ended.returncode == 0, ended.stderr
    assert not folder.exists()
    assert everything(folder) == set()
    assert naming(folder) == []
    assert str(folder) not in Path("/proc/mounts").read_text()


def naming(folder: Path) -> list[str]:
    """Return the command lines of all processes that name a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if os.fsencode(folder) + b"/" in line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found
