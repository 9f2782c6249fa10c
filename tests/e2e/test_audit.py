"""`floe audit` on a real host: what was broken behind Floe's back is told, and mended without harm to anybody.

The agent mends its host's network by itself, and the conductor asks for strays to be destroyed, once a minute. So
nothing here expects to be the first: what the audit does not tell must be in order, and is then broken again.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from real_cloud import Guest, RealCloud
from system_libvirt import FLAGS, URI, SystemLibvirt
from test_kills import IDLE

from floe.dataplane.linux.names import OWNER, bridge_name, short
from floe.hypervisors.libvirt.xml import NAMESPACE

pytestmark = pytest.mark.e2e

NewCloud = Callable[..., AbstractContextManager[RealCloud]]
DOMAIN = """
<domain type='qemu'>
  <name>{name}</name><uuid>{uuid}</uuid>
  <metadata><mark:guest xmlns:mark='{namespace}'><mark:owner>{owner}</mark:owner></mark:guest></metadata>
  <memory unit='MiB'>32</memory><vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/><readonly/>
    </disk>
  </devices>
</domain>
"""
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Scene:
    """A host that runs a guest of Floe's and one that is not; `gone` was a server once."""

    cloud: RealCloud
    daemon: SystemLibvirt
    steady: Guest
    gone: str
    foreign: str

    @property
    def tap(self) -> str:
        return f"tap{self.steady.port_id[:11]}"

    @property
    def host(self) -> str:
        return (self.cloud.state / "hosts" / "name").read_text().strip()

    @property
    def guests(self) -> Path:
        return self.cloud.state / "hosts" / self.host / "guests"

    def audit(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = self.cloud.try_floe("audit", "--json", *words)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)

    def virsh(self, *words: str) -> str:
        return self.cloud.inside("virsh", "-q", "-c", URI, *words)

    def run_domain(self, ident: str, owner: str) -> None:
        """Have libvirt run a guest that Floe did not ask for, marked as `owner`'s."""
        disk = self.cloud.root / "idle.raw"
        disk.write_bytes(IDLE)
        file = self.cloud.root / f"{ident}.domain"
        text = DOMAIN.format(name=f"guest-{ident}", uuid=ident, namespace=NAMESPACE, owner=owner, disk=disk)
        file.write_text(text)
        self.virsh("define", str(file))
        self.virsh("start", ident)

    def domains(self) -> set[str]:
        return set(self.virsh("list", "--uuid").split())

    def change(self, statement: str, *values: Any) -> None:
        """Write to the database as somebody does who is not Floe."""
        with closing(sqlite3.connect(self.cloud.state / "floe.db", timeout=30)) as database, database:
            database.execute(statement, values)

    def copy_row(self, table: str, key: str, ident: str, **changes: Any) -> None:
        """Add a row that is like another, but for some columns."""
        with closing(sqlite3.connect(self.cloud.state / "floe.db", timeout=30)) as database, database:
            database.row_factory = sqlite3.Row
            row = {**dict(database.execute(f"SELECT * FROM {table} WHERE {key} = ?", [ident]).fetchone()), **changes}
            database.execute(
                f"INSERT OR REPLACE INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                list(row.values()),
            )

    def value(self, statement: str, *values: Any) -> Any:
        with closing(sqlite3.connect(self.cloud.state / "floe.db", timeout=30)) as database:
            return database.execute(statement, values).fetchone()[0]


@pytest.fixture(scope="module")
def scene(new_cloud: NewCloud) -> Iterator[Scene]:
    with new_cloud() as cloud:
        daemon = SystemLibvirt(cloud)
        daemon.prepare()
        daemon.start()
        cloud.flags = FLAGS
        cloud.start()
        image = cloud.upload(IDLE)
        gone = cloud.boot("gone", image).id
        cloud.delete(gone)
        scene = Scene(cloud, daemon, cloud.boot("steady", image), gone, str(uuid.uuid4()))
        scene.run_domain(scene.foreign, "somebody else")
        yield scene
        cloud.delete(scene.steady.id)


@pytest.fixture
def unharmed(scene: Scene) -> Iterator[None]:
    """Whatever is found and mended, the guest goes on, and so does the one that is not Floe's, which nobody names."""
    before = scene.cloud.qemu(scene.steady.id), scene.cloud.qemu(scene.foreign)
    yield
    assert (scene.cloud.qemu(scene.steady.id), scene.cloud.qemu(scene.foreign)) == before
    assert scene.cloud.server(scene.steady.id)["status"] == "ACTIVE"
    assert scene.domains() == {scene.steady.id, scene.foreign}
    done = scene.cloud.try_floe("audit")
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing found\n", "")


@dataclass(frozen=True, slots=True)
class Damage:
    """Something to break, a look at whether it is broken, and what the audit says of it: part of its words."""

    do: Callable[[Scene], Any]
    there: Callable[[Scene], bool]
    told: Callable[[Scene], str]


def element(scene: Scene, verb: str, name: str) -> str:
    return scene.cloud.try_floe(
        "exec", "--", "nft", verb, "element", "bridge", "floe", name, f"{{ {scene.tap} }}"
    ).stdout


def members(scene: Scene) -> str:
    return scene.cloud.inside("ip", "-o", "link", "show", "master", bridge_name(scene.steady.network_id))


def leases(scene: Scene, command: str) -> str:
    """Run a command on the file of the network's leases, which lies where the sandbox alone sees it."""
    return scene.cloud.inside("sh", "-c", f"{command} /run/floe/*/dhcp/{short(scene.steady.network_id)}/hosts")


def stray_tap(scene: Scene) -> None:
    scene.cloud.inside("ip", "tuntap", "add", "dev", "tapstray", "mode", "tap")
    scene.cloud.inside("ip", "link", "set", "dev", "tapstray", "alias", OWNER + scene.gone)


def stray_folder(scene: Scene) -> None:
    (scene.guests / scene.gone).mkdir(exist_ok=True)
    (scene.guests / scene.gone / "disk.qcow2").write_bytes(b"left")


def stray_guest(scene: Scene) -> None:
    stray_folder(scene)
    scene.run_domain(scene.gone, "floe")


def stray_allocation(scene: Scene) -> None:
    scene.copy_row("allocations", "server_id", scene.steady.id, server_id=scene.gone)


def stray_port(scene: Scene) -> None:
    port, mac = str(uuid.uuid4()), "fa:16:3e:00:00:99"
    fields = {"id": port, "mac": mac, "server_id": scene.gone, "device_id": scene.gone}
    scene.copy_row("ports", "id", scene.steady.port_id, **fields)
    address = scene.value("SELECT MAX(address) + 1 FROM port_addresses")
    scene.copy_row("port_addresses", "port_id", scene.steady.port_id, port_id=port, address=address)


DAMAGES = {
    "a tap taken off its bridge": Damage(
        lambda scene: scene.cloud.inside("ip", "link", "set", "dev", scene.tap, "nomaster"),
        lambda scene: scene.tap not in members(scene),
        lambda scene: f"{scene.steady.port_id}: not done yet: ip link set dev {scene.tap} master",
    ),
    "a tap that no port has": Damage(
        stray_tap,
        lambda scene: "tapstray" in scene.cloud.inside("ip", "-o", "link"),
        lambda _: "tapstray is left",
    ),
    "a table of rules removed": Damage(
        lambda scene: scene.cloud.inside("nft", "delete", "table", "inet", "floe"),
        lambda scene: "table inet floe" not in scene.cloud.inside("nft", "list", "tables").splitlines(),
        lambda _: "table inet floe is missing",
    ),
    "a port let past its rules": Damage(
        lambda scene: element(scene, "delete", "sources"),
        lambda scene: scene.tap not in element(scene, "get", "sources"),
        lambda _: "map sources has ",
    ),
    "a lease removed": Damage(
        lambda scene: leases(scene, "truncate -s 0"),
        lambda scene: scene.steady.address not in leases(scene, "cat"),
        lambda scene: f"DHCP of network {scene.steady.network_id} has files of another state",
    ),
    "files of a server that is gone": Damage(
        stray_folder,
        lambda scene: (scene.guests / scene.gone).exists(),
        lambda scene: f"files are left of a guest that is not there: {scene.gone}",
    ),
    "a guest of a server that is gone": Damage(
        stray_guest,
        lambda scene: (scene.guests / scene.gone).exists() or bool(scene.cloud.qemu(scene.gone)),
        lambda scene: f"a guest is left on a host that should not have it: {scene.gone}",
    ),
    "an allocation of a server that is gone": Damage(
        stray_allocation,
        lambda scene: scene.value("SELECT COUNT(*) FROM allocations") != 1,
        lambda scene: f"an allocation outlives its server: {scene.gone}",
    ),
    "a port of a server that is gone": Damage(
        stray_port,
        lambda scene: scene.value("SELECT COUNT(*) FROM port_addresses WHERE port_id IN (SELECT id FROM ports WHERE "
                                  "server_id = ?)", scene.gone) > 0,
        lambda _: "a port outlives its server: ",
    ),
    "an address of a port that is gone": Damage(
        lambda scene: scene.copy_row("port_addresses", "port_id", scene.steady.port_id, port_id=scene.gone, address=1),
        lambda scene: scene.value("SELECT COUNT(*) FROM port_addresses WHERE port_id = ?", scene.gone) > 0,
        lambda scene: f"an address outlives its port: {scene.gone}",
    ),
    "a wrong sum of what is claimed of a host": Damage(
        lambda scene: scene.change("UPDATE hosts SET vcpus_used = vcpus_used + 1, memory_used = 0"),
        lambda scene: scene.value("SELECT memory_used FROM hosts") == 0,
        lambda scene: f"what is claimed of the host is not the sum of its allocations: {scene.host}",
    ),
}  # fmt: skip


def test_a_cloud_that_runs_is_in_order(scene: Scene, unharmed: None):
    assert scene.audit() == (0, {"violations": [], "count": 0})
    assert scene.audit("--repair") == (0, {"done": [], "mended": [], "violations": [], "count": 0})


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_broken_behind_floes_back_is_told_and_mended(scene: Scene, unharmed: None, damage: Damage):
    for _ in range(ATTEMPTS):
        damage.do(scene)
        assert damage.there(scene)
        status, answer = scene.audit()
        if status:
            break
        assert not damage.there(scene), "neither told nor mended"
    lines = [f"{item['rule']}: {item['subject']} ({item['text']})" for item in answer["violations"]]
    assert any(damage.told(scene) in line for line in lines), lines
    assert not any(scene.foreign in line for line in lines)
    status, answer = scene.audit("--repair")
    assert (status, answer["violations"]) == (0, []), answer
    assert scene.foreign not in str(answer)
    assert not damage.there(scene)


def test_people_are_told_in_lines_and_a_status(scene: Scene, unharmed: None):
    stray_allocation(scene)
    said = scene.cloud.try_floe("audit")
    assert (said.returncode, said.stderr) == (1, "")
    assert "an allocation outlives its server" in said.stdout
    assert scene.gone in said.stdout
    said = scene.cloud.try_floe("audit", "--repair")
    assert (said.returncode, said.stderr) == (0, "")
    assert f"done: what server {scene.gone}, which is gone, took of host {scene.host} was given back" in said.stdout
    assert said.stdout.endswith("nothing is left\n")


def test_what_nobody_can_account_for_is_told_and_left_to_an_operator(scene: Scene, unharmed: None):
    """A folder of no server that ever was here, and a guest with Floe's mark of none: somebody may miss them."""
    unknown = str(uuid.uuid4())
    folder, notes = scene.guests / unknown, scene.guests / "notes"
    for place in (folder, notes):
        place.mkdir()
        (place / "disk.qcow2").write_bytes(b"precious")
    scene.run_domain(unknown, "floe")
    status, answer = scene.audit("--repair")
    assert status == 1
    assert {item["subject"] for item in answer["violations"]} == {unknown}
    assert (folder / "disk.qcow2").read_bytes() == b"precious"
    assert len(scene.cloud.qemu(unknown)) == 1
    for words in (("destroy", unknown), ("undefine", unknown)):
        scene.virsh(*words)
    shutil.rmtree(folder)
    assert (notes / "disk.qcow2").read_bytes() == b"precious"
    shutil.rmtree(notes)
