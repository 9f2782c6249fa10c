"""What is asked of a real guest and of its hypervisor: a password that its agent sets, and what it has used."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from real_cloud import Guest, RealCloud, eventually

pytestmark = pytest.mark.e2e

PORT = "/dev/virtio-ports/org.qemu.guest_agent.0"
LIAR = {
    "malformed": "printf 'this is no JSON\\n'",
    "an error with escapes": """printf '{"error": {"class": "GenericError", "desc": "\\\\u001b[2Jno"}}\\n'""",
    "huge": """printf '{"return": "'; yes | tr -d '\\n' | head -c 200000; printf '"}\\n'""",
    "silent": "true",
}
"""What agents that are none of Debian's answer once they have found themselves, and with which command."""
SCRIPT = """#!/bin/sh
exec 3<> %s
while read -r line <&3; do
    id=$(echo "$line" | sed -n 's/.*"id": *\\([0-9]*\\).*/\\1/p')
    case $line in
        *guest-sync*) printf '\\377{"return": %%s}\\n' "$id" >&3 ;;
        *) { %s; } >&3 ;;
    esac
done
"""


@pytest.fixture(scope="module")
def asked(
    new_cloud: Callable[..., AbstractContextManager[RealCloud]], guest_image: Path
) -> Iterator[tuple[RealCloud, Guest]]:
    with new_cloud(key_type="ecdsa") as cloud:
        cloud.start()
        cloud.let_in(22)
        image = cloud.upload(guest_image.read_bytes(), "qcow2", hw_qemu_guest_agent="yes", os_admin_user="floe")
        guest = cloud.boot("asked", image, key_name="key")
        cloud.booted(guest)
        yield cloud, guest


def changed(cloud: RealCloud, guest: Guest, password: str) -> tuple[int, str]:
    """Ask for a password; return the status, and what was said of a refusal."""
    body = {"changePassword": {"adminPass": password}}
    try:
        return cloud.user().ask("POST", f"/compute/v2.1/servers/{guest.id}/action", body).status_code, ""
    except AssertionError as refusal:
        said = re.search(r"action: (\d{3}) (.*)", str(refusal), re.DOTALL)
        assert said is not None, refusal
        return int(said[1]), said[2]


def has(cloud: RealCloud, guest: Guest, password: str) -> bool:
    """Say whether that is the password of the user `floe` in a guest."""
    secret = cloud.ssh(guest, "sed -n 's/^floe:\\([^:]*\\):.*/\\1/p' /etc/shadow").strip()
    if secret == "*":
        return False
    _, kind, salt, _ = secret.split("$")
    assert kind == "6"
    quoted = password.replace("'", "'\\''")
    return cloud.ssh(guest, f"printf '%s' '{quoted}' | mkpasswd -m sha512 -S '{salt}' -P 0").strip() == secret


def test_one_logs_in_by_its_key_of_elliptic_curves_and_by_no_other(asked: tuple[RealCloud, Guest]) -> None:
    cloud, guest = asked
    assert cloud.lets_in_by_its_key_alone(guest)


def test_an_agent_is_told_the_password_that_the_create_answered_where_no_drive_tells_it(
    asked: tuple[RealCloud, Guest],
) -> None:
    cloud, guest = asked
    assert cloud.ssh(guest, "blkid -L config-2 || echo none").strip() == "none"
    eventually("the password of the create", lambda: has(cloud, guest, guest.password))


def test_an_agent_sets_the_password_that_is_asked_for(asked: tuple[RealCloud, Guest]) -> None:
    cloud, guest = asked
    password = "Gr\u00fcn & 'quoted' $HOME"
    assert eventually("the agent", lambda: changed(cloud, guest, password)[0] == 202)
    assert has(cloud, guest, password)


def test_what_a_guest_has_used_is_what_its_hypervisor_counts(asked: tuple[RealCloud, Guest]) -> None:
    cloud, guest = asked
    path = f"/compute/v2.1/servers/{guest.id}/diagnostics"
    admin = cloud.user("admin")
    before = admin.get(path)
    cloud.ssh(guest, "dd if=/dev/zero of=/full bs=1024 count=2048 2>/dev/null; sync; rm /full")
    after = admin.get(path)
    assert after["disk_details"][0]["write_bytes"] - before["disk_details"][0]["write_bytes"] >= 2048 * 1024
    assert after["nic_details"][0]["rx_octets"] > before["nic_details"][0]["rx_octets"] > 0
    assert after["cpu_details"][0]["time"] > before["cpu_details"][0]["time"] > 0
    (nic,) = admin.get(f"/compute/v2.1/servers/{guest.id}/os-interface")["interfaceAttachments"]
    assert after["nic_details"][0]["mac_address"] == nic["mac_addr"]
    assert (after["driver"], after["state"], after["num_cpus"]) == ("libvirt", "running", 1)
    old = admin.ask("GET", path, version="2.47").json()
    assert old["cpu0_time"] > 0
    assert old["vda_write"] >= after["disk_details"][0]["write_bytes"]
    assert old["memory"] == 1024 * after["memory_details"]["maximum"]


@pytest.mark.parametrize("kind", LIAR)
def test_an_agent_that_lies_or_is_silent_harms_nobody(asked: tuple[RealCloud, Guest], kind: str) -> None:
    cloud, guest = asked
    script = SCRIPT % (PORT, LIAR[kind])
    cloud.ssh(
        guest,
        f"cat > /agent <<'END'\n{script}\nEND\nchmod +x /agent; cp -n /usr/sbin/qemu-ga /kept; "
        "rm -f /usr/sbin/qemu-ga; ln -s /agent /usr/sbin/qemu-ga; killall qemu-ga agent 2>/dev/null; true",
    )
    with contextlib.suppress(AssertionError):
        eventually("the other agent", lambda: cloud.ssh(guest, "pidof agent || true").strip() or None, 10)
    status, text = changed(cloud, guest, "Never-Set-Pa55")
    assert status in (409, 501), text
    assert len(text) < 1000
    assert "\x1b" not in text
    assert "Never-Set-Pa55" not in text
    assert cloud.user("admin").get(f"/compute/v2.1/servers/{guest.id}/diagnostics")["state"] == "running"
    assert cloud.server(guest.id)["status"] == "ACTIVE"
