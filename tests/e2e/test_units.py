"""Roles do their work with what the units of systemd leave them, as far as that can be had without systemd."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cluster_load import Customer
from cluster_plan import LIBVIRT, Shape, planned
from nats_server import nats_server
from real_cloud import BOOT_SECONDS, eventually
from role_processes import Roles, role_processes

from cluster import Cluster

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "packaging" / "systemd"
SOMEBODY = 64_999
"""Whom APIs and conductors run as, in the place of the user `floe`."""

INSTALLED = f"""
set -e
mount -t tmpfs none /opt
mkdir -p /opt/floe /opt/source
mount --bind {sys.prefix} /opt/floe
mount --bind {ROOT / "src"} /opt/source
"""
"""In a mount namespace: /opt/floe is the environment of this Python, wherever that is."""

# ProtectSystem=strict, PrivateTmp and ProtectHome, with the state directory as the only place to write to.
CONFINED = f"""
state=$1
shift 2  # and the Python that may be out of reach
mount --bind "$state" "$state"
mount -t tmpfs none /tmp
awk '{{print $2}}' /proc/self/mounts | while read -r at; do
    case $at in /dev | /dev/* | /proc | /proc/* | /sys | /sys/* | /tmp | "$state") continue ;; esac
    mount -o remount,bind,ro "$at" 2> /dev/null || true
done
for at in /home /root; do mount -t tmpfs -o ro,mode=000 none $at; done
for at in /usr "${{state%/*}}"; do
    if touch "$at/written" 2> /dev/null; then echo "$at is not confined"; exit 1; fi
done
cd /
exec env PYTHONPATH=/opt/source setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups --no-new-privs \\
    --inh-caps=-all --bounding-set=-all /opt/floe/bin/python "$@"
"""


class Unit:
    """A unit's section of the service; a key given several times has all its values."""

    def __init__(self, name: str) -> None:
        self._lines = [line.partition("=") for line in (UNITS / f"{name}.service").read_text().splitlines()]

    def __getitem__(self, name: str) -> list[str]:
        return [word for key, _, value in self._lines if key == name for word in value.split()]


def apart(script: str, *words: str) -> list[str]:
    """Return the command that runs a script in a mount namespace of its own."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *words]


def test_systemd_takes_the_units() -> None:
    files = sorted(str(file) for file in UNITS.iterdir())
    verify = 'systemd-analyze verify --man=no --recursive-errors=no "$@"'
    done = subprocess.run(apart(INSTALLED + verify, *files), capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="floe-e2e-", dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def roles(folder: Path) -> Iterator[Roles]:
    with nats_server() as nats, role_processes(folder, nats.url) as roles:
        yield roles


def test_api_and_conductor_work_as_nobody_who_may_write_to_the_state_directory_alone(
    roles: Roles, folder: Path
) -> None:
    for role in ("api", "conductor"):
        unit = Unit(f"floe-{role}")
        assert unit["ProtectSystem"] == ["strict"]
        assert unit["CapabilityBoundingSet"] == []
        assert unit["NoNewPrivileges"] == unit["PrivateTmp"] == unit["ProtectHome"] == ["yes"]
    roles.state.mkdir(mode=0o711)
    os.chown(roles.state, SOMEBODY, SOMEBODY)
    os.chown(roles.config, 0, SOMEBODY)
    roles.config.chmod(0o640)
    before = apart(INSTALLED + CONFINED, str(roles.state))
    api = roles.start("api", before=before).ready()
    roles.start("conductor", "1", before=before).ready()
    flags = ("--state", str(folder / "agent"), "--images-from", api.url)
    roles.start("agent", "h1", *flags).ready()
    with roles.client(api) as http:
        image = uploaded(http)
        (flavor,) = (each for each in http.get("/compute/v2.1/flavors").json()["flavors"] if each["name"] == "m1.nano")
        body = {"name": "s", "imageRef": image, "flavorRef": flavor["id"], "networks": "auto"}
        made = http.post("/compute/v2.1/servers", json={"server": body})
        assert made.status_code == 202, made.text
        path = f"/compute/v2.1/servers/{made.json()['server']['id']}"
        eventually("the server to be built", lambda: http.get(path).json()["server"]["status"] == "ACTIVE")
        assert http.delete(path).status_code == 204
        eventually("the server to be gone", lambda: http.get(path).status_code == 404)
    written = {path for path in folder.rglob("*") if path.lstat().st_uid == SOMEBODY}
    assert written == {path for path in (roles.state, *roles.state.rglob("*")) if path.lstat().st_uid == SOMEBODY}


def uploaded(http: httpx.Client) -> str:
    """Return the id of an image that is inspected as it comes in."""
    made = http.post("/image/v2/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"})
    image = made.json()["id"]
    kind = {"content-type": "application/octet-stream"}
    put = http.put(f"/image/v2/images/{image}/file", content=bytes(1 << 20), headers=kind)
    assert put.status_code == 204, put.text
    return str(image)


def test_an_agent_runs_guests_with_the_capabilities_that_its_unit_leaves_it(folder: Path, guest_image: Path) -> None:
    assert guest_image.exists()
    bounds = [name.removeprefix("CAP_").lower() for name in Unit("floe-agent")["CapabilityBoundingSet"]]
    assert "sys_admin" in bounds
    cluster = Cluster(folder, planned(folder, Shape(agents=1, hypervisor=LIBVIRT)), bound=True)
    state = cluster.state_of("agent-1")
    state.mkdir(mode=0o711)
    # Made before, and entered with one more: under systemd there is none.
    make = "import sys; from pathlib import Path; from floe.cli.sandbox import enter; enter(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", make, str(state)], check=True, timeout=60)
    bounding = ",".join(["-all", *(f"+{name}" for name in (*bounds, "sys_chroot"))])
    cluster.wrapped["agent-1"] = ["setpriv", f"--bounding-set={bounding}"]
    with contextlib.closing(cluster):
        cluster.start()
        with Customer(cluster) as customer:
            customer.bring_image(guest_image.read_bytes(), "qcow2")
            server = customer.create("s")
            eventually("the server to be built", lambda: customer.states() == {server: "ACTIVE"}, 120)
            asking = cluster.client("floe")

            def console() -> str:
                told = asking.post(f"/compute/v2.1/servers/{server}/action", {"os-getConsoleOutput": {}})
                return str(told["output"])

            eventually("the guest to say login:", lambda: "login:" in console(), BOOT_SECONDS, pause=0.5)
            customer.delete(server)
            eventually("the server to be gone", lambda: customer.states() == {})
        eventually("all to be in order", lambda: cluster.client().get("/floe/v1/audit")["violations"] == [])
