"""What the programs that guests speak to may do on the host: real ones, looked at in /proc."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from floe.core.errors import HostFailure
from floe.dataplane.linux import account
from floe.dataplane.linux.names import namespace_name, short
from floe.dataplane.linux.plane import LinuxPlane

from .test_packets import leased

pytestmark = pytest.mark.e2e

NETWORK_ALONE = (1 << 12) | (1 << 13) | (1 << 10)
"""CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE (capabilities(7))."""


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def servers(state_dir: Path) -> list[int]:
    return [int(file.read_text()) for file in account.folder(state_dir).glob("*/dnsmasq.pid")]


@pytest.fixture
def closed(tmp_path):
    """A state directory as Floe makes it: nobody but root gets into it."""
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
async def plane(private_network, closed):
    made = LinuxPlane(closed)
    await made.open()
    yield made
    await made.remove_all()
    await made.close()


async def test_a_dhcp_server_is_not_root_and_can_never_be_again(plane, world, guests, closed, tmp_path):
    segment = world.segment()
    world.port(11, segment)
    await plane.apply(world.network)
    guest = guests.add(world.port(12, segment), address=False)
    await plane.apply(world.network)  # it reads its files again, as whoever it is by now
    [server] = servers(closed)
    seen, name = status(server), account.find().name
    assert name == "dnsmasq"
    assert set(seen["Uid"].split()) == {str(pwd.getpwnam(name).pw_uid)}
    assert set(seen["Gid"].split()) == {str(pwd.getpwnam(name).pw_gid)}
    assert "0" not in seen["Groups"].split()
    for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(seen[kind], 16) & ~NETWORK_ALONE == 0, (kind, seen[kind])
    assert seen["NoNewPrivs"] == "1"
    assert (await leased(guests, guest, tmp_path / "script"))["ip"] == "10.7.0.12"


async def test_what_a_dhcp_server_reads_it_cannot_write_and_others_cannot_read(plane, world, closed):
    world.port(11, world.segment())
    await plane.apply(world.network)
    user = str(account.find().name)
    place = account.folder(closed) / short(world.network.segments[0].network_id)
    for what, who, done in (
        (f"cat {place}/hosts", user, True),
        (f"echo x >> {place}/hosts", user, False),
        (f"mv {place}/hosts {place}/elsewhere", user, False),
        (f"ln -s /etc/passwd {place}/hosts.new", user, False),
        (f"cat {place}/hosts", "sys", False),
        (f"ls {closed}", user, False),
    ):
        group = account.find().group if who == user else "sys"
        argv = ["setpriv", "--reuid", who, "--regid", group, "--clear-groups", "sh", "-c", what]
        assert (subprocess.run(argv, check=False, capture_output=True).returncode == 0) is done, (who, what)


async def test_without_an_account_nothing_is_served_rather_than_by_root(private_network, world, closed, tmp_path):
    """The accounts go while it runs; at its next start it would say the same."""
    plane = LinuxPlane(closed)
    await plane.open()
    world.port(11, world.segment())
    bare = tmp_path / "passwd"
    bare.write_text("".join(f"{name}:x:0:0:not what it says:/:/bin/sh\n" for name in ("root", "dnsmasq", "nobody")))
    subprocess.run(["mount", "--bind", str(bare), "/etc/passwd"], check=True)
    try:
        with pytest.raises(HostFailure, match=r"never run as root.*useradd --system"):
            await plane.apply(world.network)
        assert servers(closed) == []
        with pytest.raises(HostFailure, match="never run as root"):
            await LinuxPlane(closed).open()
    finally:
        subprocess.run(["umount", "/etc/passwd"], check=True)
    await plane.apply(world.network)
    assert len(servers(closed)) == 1
    await plane.remove_all()


@pytest.mark.parametrize("spoilt", ["open", "anothers", "link"])
async def test_files_are_not_written_where_others_can_write(private_network, world, closed, tmp_path, spoilt):
    own = account.folder(closed).parent
    own.parent.mkdir()
    if spoilt == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o750)
        own.symlink_to(tmp_path / "elsewhere")
    else:
        own.mkdir()
        own.chmod(0o777 if spoilt == "open" else 0o750)
        os.chown(own, 12345 if spoilt == "anothers" else 0, 0)
    world.port(11, world.segment())
    plane = LinuxPlane(closed)
    await plane.open()
    with pytest.raises(HostFailure, match="root alone can write"):
        await plane.apply(world.network)
    own.unlink() if spoilt == "link" else own.rmdir()
    assert not list((tmp_path / "elsewhere").glob("*"))
    await plane.apply(world.network)
    await plane.remove_all()


async def test_two_states_of_one_machine_do_not_share_files(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert account.folder(tmp_path / "a") != account.folder(tmp_path / "b")
    assert account.folder(tmp_path / "link") == account.folder(tmp_path / "a")


async def test_files_that_a_reboot_cleared_are_made_again(plane, world, closed):
    world.port(11, world.segment())
    await plane.apply(world.network)
    before = {file.name: file.read_text() for file in account.folder(closed).glob("*/[!d]*")}
    assert set(before) == {"hosts", "options", "names"}
    await plane.close()
    subprocess.run(["rm", "-r", "/run/floe"], check=True)
    again = LinuxPlane(closed)
    await again.open()
    await again.apply(world.network)
    assert {file.name: file.read_text() for file in account.folder(closed).glob("*/[!d]*")} == before
    assert await again.drift(world.network) == []
    await again.close()


async def test_a_server_of_an_earlier_release_is_replaced(plane, world, closed):
    """It was started as root, with its files in the state directory."""
    segment = world.segment()
    world.port(11, segment)
    await plane.apply(world.network)
    [fresh] = servers(closed)
    argv = [os.fsdecode(word) for word in Path(f"/proc/{fresh}/cmdline").read_bytes().split(b"\0")[:-1]]
    await plane._servers.stop(short(segment.network_id))
    former = closed / "dhcp" / short(segment.network_id)
    former.mkdir(parents=True)
    for name in ("hosts", "options", "names"):
        (former / name).touch()
    place = str(account.folder(closed) / short(segment.network_id))
    old = [word.replace(place, str(former)) for word in argv if not word.startswith(("--user", "--group"))]
    inside = ["nsenter", f"--net=/run/netns/{namespace_name(segment.network_id)}"]
    subprocess.run([*inside, *old, "--user=root"], check=True)
    pid = int((former / "dnsmasq.pid").read_text())
    assert status(pid)["Uid"].split()[0] == "0"
    again = LinuxPlane(closed)
    await again.open()
    await again.apply(world.network)
    [server] = servers(closed)
    assert status(server)["Uid"].split()[0] != "0"
    assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    assert not (closed / "dhcp").exists()
    await again.close()
