"""Everything is killed, at any instant: nothing is stuck, leaked or done twice, and guests that run are unharmed.

`KILL_ROUNDS` says how often `floe up` is killed (8 by default; 50 take about ten minutes), `KILL_SEED` which instants
are chosen; the seed is printed, and a failure names it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from kills import Customer, check, killed_while_starting, settled
from real_cloud import Guest, RealCloud, eventually
from system_libvirt import FLAGS, SystemLibvirt

pytestmark = pytest.mark.e2e

NewCloud = Callable[..., AbstractContextManager[RealCloud]]
ROUNDS = int(os.environ.get("KILL_ROUNDS", "8"))
SEED = int(os.environ.get("KILL_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
IDLE = b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa" + bytes(2**20 - 512)
"""A disk whose boot sector halts the machine for good (cli; hlt; jmp): a guest that runs and takes no time."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A cloud, an image that boots nothing but runs, and a guest that shall go on through all of this."""

    cloud: RealCloud
    image: str
    steady: Guest

    def life(self) -> tuple[list[int], float]:
        """Return the process and the uptime of the guest that shall go on."""
        return self.cloud.qemu(self.steady.id), float(self.cloud.ssh(self.steady, "cat /proc/uptime").split()[0])


def with_steady_guest(cloud: RealCloud, guest_image: Path) -> Scene:
    demo = cloud.user()
    key = {"name": "key", "type": "ssh", "public_key": cloud.key.with_suffix(".pub").read_text().strip()}
    demo.post("/compute/v2.1/os-keypairs", {"keypair": key})
    groups = demo.get("/network/v2.0/security-groups")["security_groups"]
    cloud.allow(next(group["id"] for group in groups if group["name"] == "default"), "tcp", 22)
    steady = cloud.boot("steady", cloud.upload(guest_image.read_bytes(), "qcow2"), key_name="key")
    cloud.booted(steady)
    return Scene(cloud, cloud.upload(IDLE), steady)


@pytest.fixture(scope="module")
def scene(new_cloud: NewCloud, guest_image: Path) -> Iterator[Scene]:
    with new_cloud() as cloud:
        cloud.start()
        yield with_steady_guest(cloud, guest_image)


def test_floe_up_killed_at_random_instants_while_customers_create_and_delete(scene: Scene):
    print(f"KILL_SEED={SEED} KILL_ROUNDS={ROUNDS}")
    cloud, chance = scene.cloud, random.Random(SEED)
    cloud.delete(cloud.boot("first", scene.image).id)  # from here on the host has the image and all that stays
    before, (pids, ran) = cloud.holdings(), scene.life()
    customers = [Customer(cloud, f"customer{n}", scene.image, seed=SEED + n, most=3) for n in (1, 2)]
    for customer in customers:
        customer.start()
    instants = threading.Event()
    for _ in range(ROUNDS):
        instants.wait(4 * chance.random() ** 2)
        cloud.kill()
        if chance.random() < 0.35:
            killed_while_starting(cloud, 3 * chance.random())
        cloud.start()
    for customer in customers:
        customer.end()
    deleted = {server for customer in customers for server in customer.deleted}
    made = {name: server for customer in customers for name, server in customer.made.items()}

    began = time.monotonic()
    servers = settled(cloud, deleted)
    print(
        f"{len(made)} creates, {len(deleted)} deletes, {sum(c.repeats for c in customers)} requests sent again; "
        f"{sum(s['status'] == 'ERROR' for s in servers)} in ERROR; settled after {time.monotonic() - began:.1f} s"
    )
    for server in servers:
        if server["status"] == "ERROR":
            print(f"{server['id']}: {server['fault']['message']}")
    expected = sorted((name, server) for name, server in made.items() if server not in deleted)
    assert sorted((s["name"], s["id"]) for s in servers) == sorted([*expected, ("steady", scene.steady.id)])
    check(cloud, servers)
    assert cloud.floe("audit") == "nothing found\n"
    after_pids, after = scene.life()
    assert after_pids == pids
    assert after > ran
    for _, server in expected:
        cloud.delete(server)
    with suppress(AssertionError):  # libvirt forgets a guest that is gone in a thread of its own
        eventually("the host to have what it had", lambda: cloud.holdings() == before)
    assert cloud.holdings() == before
    assert cloud.floe("audit") == "nothing found\n"


def test_a_guest_that_is_killed_is_seen_to_be_off_at_once(scene: Scene):
    cloud = scene.cloud
    guest = cloud.boot("victim", scene.image)
    (pid,) = cloud.qemu(guest.id)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    server = eventually(
        "the dead guest to be SHUTOFF",
        lambda: (shown := cloud.server(guest.id))["status"] == "SHUTOFF" and shown,
        pause=0.02,
    )
    print(f"seen after {time.monotonic() - began:.2f} s")
    assert server["OS-EXT-STS:power_state"] == 4
    assert server["OS-EXT-STS:vm_state"] == "stopped"
    cloud.delete(guest.id)


def test_guests_that_end_are_reaped_by_floe_itself_and_not_seen_by_a_sweep(scene: Scene):
    """A PID 1 that reaps late, or never, would keep a dead guest alive for libvirt."""
    cloud = scene.cloud
    for name in ("killed", "deleted", "killed too"):
        guest = cloud.boot(name, scene.image)
        (pid,) = cloud.qemu(guest.id)
        assert pid in cloud.children()
        if name != "deleted":
            os.kill(pid, signal.SIGKILL)
            # The sweep comes once a minute: three guests in a row are not seen by it so soon.
            eventually("the dead guest to be SHUTOFF", lambda: cloud.server(guest.id)["status"] == "SHUTOFF", 10)  # noqa: B023
        cloud.delete(guest.id)
        assert pid not in cloud.children()
    eventually("all that ended to be reaped", lambda: "Z" not in cloud.children().values(), 10)


def test_a_guest_that_is_killed_while_floe_is_down_is_seen_to_be_off_after_the_start(scene: Scene):
    cloud = scene.cloud
    guest = cloud.boot("victim", scene.image)
    (pid,) = cloud.qemu(guest.id)
    cloud.kill()
    os.kill(pid, signal.SIGKILL)
    cloud.start()
    eventually("the dead guest to be SHUTOFF", lambda: cloud.server(guest.id)["status"] == "SHUTOFF", 10)
    cloud.delete(guest.id)


def test_a_dhcp_server_that_is_killed_comes_back_and_knows_its_leases(scene: Scene):
    cloud, steady = scene.cloud, scene.steady
    (pid,) = cloud.dhcp_servers(steady.network_id)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    eventually("a new dnsmasq", lambda: set(cloud.dhcp_servers(steady.network_id)) - {pid}, 90)
    print(f"back after {time.monotonic() - began:.1f} s")
    assert len(cloud.dhcp_servers(steady.network_id)) == 1
    # One-shot and without a script: what it is offered is told, and nothing of the guest's own set-up is changed.
    told = cloud.ssh(steady, "udhcpc -i eth0 -n -q -f -s /bin/true 2>&1")
    assert f"lease of {steady.address} obtained" in told


# -- the database ------------------------------------------------------------------------------------------------------

HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("PRAGMA busy_timeout=30000")
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
held.execute("ROLLBACK")
"""


@contextmanager
def locked(cloud: RealCloud) -> Iterator[None]:
    """Have another process hold the database's write lock."""
    words = [sys.executable, "-c", HOLD, str(cloud.state / "floe.db")]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.communicate("", timeout=60)


@pytest.mark.parametrize("seconds", [2, 14], ids=["shorter than a write waits", "longer than a write waits"])
def test_a_locked_database_delays_or_refuses_requests_and_loses_none(scene: Scene, seconds: float):
    cloud = scene.cloud
    before = cloud.holdings()
    customer = Customer(cloud, f"locked{seconds}", scene.image, seed=SEED, most=3)
    customer.start()
    eventually("a server under construction", lambda: len(customer.made) > 1)
    with locked(cloud):
        threading.Event().wait(seconds)
        assert cloud.server(scene.steady.id)["status"] == "ACTIVE", "what only reads is answered"
    known = len(customer.made)
    eventually("the customer to go on", lambda: len(customer.made) > known)
    customer.end()
    print(f"{len(customer.made)} creates, {len(customer.deleted)} deletes, {customer.repeats} answered 503")
    servers = settled(cloud, customer.deleted)
    expected = sorted(server for server in customer.made.values() if server not in customer.deleted)
    assert sorted(s["id"] for s in servers) == sorted([*expected, scene.steady.id])
    assert {s["status"] for s in servers} == {"ACTIVE"}, [s.get("fault") for s in servers]
    check(cloud, servers)
    for server in expected:
        cloud.delete(server)
    assert cloud.holdings() == before


# -- the image cache ---------------------------------------------------------------------------------------------------


def test_a_base_image_that_is_damaged_while_floe_runs_is_noticed_and_fetched_again(scene: Scene):
    cloud = scene.cloud
    image = cloud.upload(IDLE + os.urandom(512))
    cloud.delete(cloud.boot("first", image).id)
    cached = Path(cloud.cached(image))
    whole = cached.read_bytes()
    cached.chmod(0o600)
    cached.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    cloud.delete(cloud.boot("second", image).id)
    assert cached.read_bytes() == whole


# -- libvirtd ----------------------------------------------------------------------------------------------------------


def test_guests_and_floe_outlive_libvirtd(new_cloud: NewCloud, guest_image: Path):
    with new_cloud() as cloud:
        daemon = SystemLibvirt(cloud)
        daemon.prepare()
        daemon.start()
        cloud.flags = FLAGS
        cloud.start()
        scene = with_steady_guest(cloud, guest_image)
        bystander = cloud.boot("bystander", scene.image)
        pids, ran = scene.life()
        daemon.kill()
        (bystanding,) = cloud.qemu(bystander.id)
        os.kill(bystanding, signal.SIGKILL)
        assert scene.life()[0] == pids
        daemon.start()
        # Nobody told of the end of this one: Floe has to come back to libvirt by itself, and look.
        eventually("the dead guest to be SHUTOFF", lambda: cloud.server(bystander.id)["status"] == "SHUTOFF", 10)
        last = cloud.boot("last", scene.image)
        (pid,) = cloud.qemu(last.id)
        os.kill(pid, signal.SIGKILL)
        eventually("the dead guest to be SHUTOFF", lambda: cloud.server(last.id)["status"] == "SHUTOFF", 10)
        assert scene.life()[0] == pids
        assert scene.life()[1] > ran
        for guest in (bystander, last, scene.steady):
            cloud.delete(guest.id)
