"""What guests see: each other, what rules let through, and what they are told about themselves."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from real_cloud import USER_DATA, Guest, Pair, eventually

pytestmark = pytest.mark.e2e

METADATA = "http://169.254.169.254"


def pings(pair: Pair, source: Guest, target: Guest) -> bool:
    return "1 packets received" in pair.cloud.ssh(source, f"ping -c 1 -W 2 {target.address} || true")


def fetches(pair: Pair, source: Guest, target: Guest) -> bool:
    return f"{target.name} ran this" in pair.cloud.ssh(
        source, f"timeout 3 wget -q -O - http://{target.address}/ || true"
    )


def becomes(what: bool, look: object, *args: object) -> None:
    assert callable(look)
    eventually(f"{look.__name__} to be {what}", lambda: look(*args) is what or None)


def test_two_guests_on_one_network_reach_each_other(pair: Pair):
    assert pings(pair, pair.alpha, pair.beta)
    assert pings(pair, pair.beta, pair.alpha)
    assert fetches(pair, pair.alpha, pair.beta)


def test_guests_find_each_other_by_name(pair: Pair):
    assert pair.beta.address in pair.cloud.ssh(pair.alpha, "ping -c 1 -W 5 beta")


def test_a_security_group_blocks_and_then_admits(pair: Pair):
    cloud, demo = pair.cloud, pair.cloud.user()
    strict = demo.post("/network/v2.0/security-groups", {"security_group": {"name": "strict"}})["security_group"]["id"]
    cloud.allow(strict, "tcp", 22)
    port = f"/network/v2.0/ports/{pair.beta.port_id}"
    demo.ask("PUT", port, {"port": {"security_groups": [strict]}})
    becomes(False, pings, pair, pair.alpha, pair.beta)
    assert not fetches(pair, pair.alpha, pair.beta)
    # No longer a member of the default group, it is not let in there either.
    assert not pings(pair, pair.beta, pair.alpha)

    echo = cloud.allow(strict, "icmp")
    becomes(True, pings, pair, pair.alpha, pair.beta)
    assert not fetches(pair, pair.alpha, pair.beta)

    web = cloud.allow(strict, "tcp", 80)
    becomes(True, fetches, pair, pair.alpha, pair.beta)

    demo.ask("DELETE", f"/network/v2.0/security-group-rules/{echo}")
    becomes(False, pings, pair, pair.alpha, pair.beta)
    assert fetches(pair, pair.alpha, pair.beta)
    demo.ask("DELETE", f"/network/v2.0/security-group-rules/{web}")
    becomes(False, fetches, pair, pair.alpha, pair.beta)

    demo.ask("PUT", port, {"port": {"security_groups": [pair.group]}})
    becomes(True, pings, pair, pair.alpha, pair.beta)
    demo.ask("DELETE", f"/network/v2.0/security-groups/{strict}")


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_metadata_answers_about_the_guest_that_asks(pair: Pair, name: str):
    guest = {"alpha": pair.alpha, "beta": pair.beta}[name]
    told = json.loads(pair.cloud.ssh(guest, f"wget -q -O - {METADATA}/openstack/latest/meta_data.json"))
    assert (told["uuid"], told["name"], told["hostname"].split(".")[0]) == (guest.id, name, name)
    assert told["meta"] == {"colour": "green"}
    assert told["public_keys"]["key"].split()[:2] == public_key(pair)
    assert pair.cloud.ssh(guest, f"wget -q -O - {METADATA}/openstack/latest/user_data") == USER_DATA
    assert pair.cloud.ssh(guest, f"wget -q -O - {METADATA}/latest/meta-data/local-ipv4") == guest.address


def public_key(pair: Pair) -> list[str]:
    return pair.cloud.key.with_suffix(".pub").read_text().split()[:2]


def test_no_header_makes_metadata_answer_about_another_guest(pair: Pair):
    claims = {
        "X-Forwarded-For": pair.beta.address,
        "X-Real-IP": pair.beta.address,
        "X-Instance-ID": pair.beta.id,
        "X-Instance-ID-Signature": "0" * 64,
        "X-Tenant-ID": "0" * 32,
        "Forwarded": f"for={pair.beta.address}",
    }
    headers = " ".join(f"--header {shlex.quote(f'{name}: {value}')}" for name, value in claims.items())
    told = pair.cloud.ssh(pair.alpha, f"wget -q -O - {headers} {METADATA}/openstack/latest/meta_data.json")
    assert json.loads(told)["uuid"] == pair.alpha.id
    assert pair.beta.id not in told


def test_a_guest_that_takes_anothers_address_is_told_nothing(pair: Pair):
    ask = f"timeout 5 wget -q -O - {METADATA}/openstack/latest/meta_data.json"
    route = pair.cloud.ssh(pair.alpha, "ip route get 169.254.169.254").split()
    way = f"via {route[route.index('via') + 1]}" if "via" in route else "scope link"

    def told_from(address: str) -> tuple[str, str]:
        """Ask from an address, given to the guest for that long; return the way the kernel took, and the answer."""
        said = pair.cloud.ssh(
            pair.alpha,
            f"ip addr add {address}/32 dev eth0 2> /dev/null; "
            f"ip route replace 169.254.169.254/32 {way} dev eth0 src {address}; ip route get 169.254.169.254; {ask}; "
            f"ip route replace 169.254.169.254/32 {way} dev eth0; "
            f"[ {address} = {pair.alpha.address} ] || ip addr del {address}/32 dev eth0; true",
        )
        taken, _, answer = said.partition("\n")
        return taken, answer.strip()

    own, answer = told_from(pair.alpha.address)
    assert f"src {pair.alpha.address}" in own
    assert json.loads(answer)["uuid"] == pair.alpha.id
    spoofed, answer = told_from(pair.beta.address)
    assert f"src {pair.beta.address}" in spoofed
    assert answer == ""
    assert json.loads(pair.cloud.ssh(pair.alpha, ask))["uuid"] == pair.alpha.id


def test_user_data_ran_once_in_each(pair: Pair):
    for guest in (pair.alpha, pair.beta):
        assert pair.cloud.ssh(guest, "cat /www/index.html") == f"{guest.name} ran this\n"
        assert pair.cloud.console(guest.id).count("user data ended with status 0") == 1


def test_the_config_drive_says_what_the_metadata_service_says(pair: Pair):
    assert "configured by: config drive" in pair.cloud.console(pair.beta.id)
    assert "configured by: metadata service" in pair.cloud.console(pair.alpha.id)
    path = "openstack/latest/meta_data.json"
    # As who logs in, who finds the drive by its label.
    mount = "sudo mkdir -p /mnt/drive && sudo mount $(PATH=$PATH:/sbin; blkid -L config-2 -o device) /mnt/drive"
    mounted = pair.cloud.try_ssh(pair.beta, mount, user="floe")
    assert mounted.returncode == 0, mounted.stderr
    drive = json.loads(pair.cloud.ssh(pair.beta, f"cat /mnt/drive/{path}"))
    assert pair.cloud.ssh(pair.beta, "cat /mnt/drive/openstack/latest/user_data") == USER_DATA
    pair.cloud.ssh(pair.beta, "umount /mnt/drive")
    service = json.loads(pair.cloud.ssh(pair.beta, f"wget -q -O - {METADATA}/{path}"))
    # Any program in the guest may ask the service, so the password is on the drive alone; seeds differ each time.
    assert drive.pop("admin_pass") == pair.beta.password
    drive.pop("random_seed")
    service.pop("random_seed")
    assert drive == service


@pytest.mark.parametrize(("name", "source"), [("alpha", "OpenStack"), ("beta", "ConfigDrive")])
def test_cloud_init_finds_its_cloud_with_and_without_a_config_drive(
    pair: Pair, ds_identify: Path, tmp_path: Path, name: str, source: str
):
    cloud, guest = pair.cloud, {"alpha": pair.alpha, "beta": pair.beta}[name]
    real = Path(shutil.which("blkid") or "")  # busybox has one without `-o export`
    wrapped = tmp_path / "blkid"
    wrapped.write_text('#!/bin/sh\nLD_LIBRARY_PATH=/run/ci /run/ci/real/blkid "$@"\n')
    wrapped.chmod(0o755)
    libraries = [Path(word) for word in subprocess.check_output(["ldd", real], text=True).split() if "libblkid" in word]
    cloud.put(guest, [ds_identify, wrapped, libraries[-1]], "/run/ci")
    cloud.put(guest, [real], "/run/ci/real")

    status = cloud.ssh(guest, "cd /run/ci; PATH=/run/ci:$PATH ./ds-identify --force; echo $?")

    log = cloud.ssh(guest, "cat /run/cloud-init/ds-identify.log")
    assert status == "0\n", log
    assert cloud.ssh(guest, "cat /run/cloud-init/cloud.cfg") == f"datasource_list: [ {source}, None ]\n", log
    assert "DMI_PRODUCT_NAME=OpenStack Nova\n" in log


def test_the_firmware_names_cloud_and_server(pair: Pair):
    look = (
        "cd /sys/class/dmi/id; cat sys_vendor product_name product_version product_serial product_uuid product_family"
    )
    *fixed, family = pair.cloud.ssh(pair.alpha, look).splitlines()
    version = importlib.metadata.version("floe-cloud")
    assert fixed == ["OpenStack Foundation", "OpenStack Nova", version, pair.alpha.id, pair.alpha.id]
    assert family == "Virtual Machine"


def test_one_logs_in_by_its_key_and_by_no_other(pair: Pair):
    assert pair.cloud.lets_in_by_its_key_alone(pair.alpha)


def test_one_can_log_in_with_the_admin_password(pair: Pair):
    assert pair.beta.password == "Correct-horse-1"
    ask = pair.cloud.root / "askpass"
    ask.write_text(f"#!/bin/sh\necho {pair.beta.password}\n")
    ask.chmod(0o700)
    environment = ["env", f"SSH_ASKPASS={ask}", "SSH_ASKPASS_REQUIRE=force"]
    done = pair.cloud.try_floe(
        "exec", "--network", pair.beta.network_id, "--", *environment, "ssh", "-F", "none",
        *("-o", "PubkeyAuthentication=no", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "NumberOfPasswordPrompts=1", f"floe@{pair.beta.address}", "hostname"),
    )  # fmt: skip
    assert done.stdout == "beta\n", done.stderr


def test_files_given_at_the_create_reach_the_guest(pair: Pair):
    listed = json.loads(pair.cloud.ssh(pair.alpha, f"wget -q -O - {METADATA}/openstack/latest/meta_data.json"))["files"]
    assert [entry["path"] for entry in listed] == ["/etc/motd"]
    content = pair.cloud.ssh(pair.alpha, f"wget -q -O - {METADATA}/openstack{listed[0]['content_path']}")
    assert content == "hello from outside\n"


def test_a_guest_boots_the_kernel_and_ramdisk_of_its_image(pair: Pair, guest_image: Path):
    cloud = pair.cloud
    image = cloud.upload_direct(guest_image, "direct=yes")
    direct = cloud.boot("direct", image, key_name="key")
    cloud.booted(direct)
    assert "direct=yes" in cloud.ssh(direct, "cat /proc/cmdline")
    cloud.delete(direct.id)
