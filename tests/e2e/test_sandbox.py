"""The sandbox, made and ended for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floe.cli import kvm
from floe.dataplane.linux.names import namespace_name

pytestmark = pytest.mark.e2e

NETWORK = "5f0c1a52-7d1e-4a6c-9a35-0d5a0b2f7e11"
ENTER = """
import sys
from pathlib import Path
from floe.cli.sandbox import enter
print(enter(Path(sys.argv[1])).created, flush=True)
sys.stdin.read()
"""

CONNECT = """
import socket, sys
from pathlib import Path
from floe.cli.sandbox import enter
listener = socket.create_server(("127.0.0.1", 0))
sandbox = enter(Path(sys.argv[1]))
with socket.socket() as inner:
    inner.settimeout(5)
    try:
        inner.connect(listener.getsockname())
        print("inside: connected")
    except ConnectionRefusedError:
        print("inside: refused")
with sandbox.socket_outside() as outer:
    outer.settimeout(5)
    outer.connect(listener.getsockname())
    print("outside: connected")
print([name for _, name in socket.if_nameindex()])
"""


def floe(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "floe", *words], capture_output=True, text=True, timeout=60, check=False
    )


class Entered:
    """A process that is in the sandbox until it is let go, as `floe up` is."""

    def __init__(self, state: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENTER, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.created = self.process.stdout.readline().strip() == "True"

    def leave(self) -> None:
        self.process.communicate("")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    state = tmp_path / "state"
    yield state
    floe("sandbox", "remove", "--state", str(state))


def inside(state: Path, *words: str) -> str:
    done = floe("exec", "--state", str(state), "--", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sandbox_outlives_who_made_it_and_is_entered_again(state: Path):
    first = Entered(state)
    inside(state, "ip", "link", "add", "fbr0", "type", "bridge")
    first.leave()
    second = Entered(state)
    second.leave()
    assert (first.created, second.created) == (True, False)
    assert "fbr0" in inside(state, "ip", "-br", "link")


def test_the_machine_keeps_its_own_network_name_and_run_directory(state: Path):
    name = socket.gethostname()
    Entered(state).leave()
    inside(state, "ip", "link", "add", "fbr-inside", "type", "bridge")
    inside(state, "ip", "netns", "add", "floe-inside")
    assert inside(state, "hostname").strip() == "floe-sandbox"
    assert socket.gethostname() == name
    assert "fbr-inside" not in {device for _, device in socket.if_nameindex()}
    assert not Path("/run/netns/floe-inside").exists()


def test_kvm_is_in_the_sandbox_only_where_it_works(state: Path):
    Entered(state).leave()
    assert ("kvm" in inside(state, "ls", "/dev").split()) is kvm.look().usable


def test_what_was_bound_before_is_reached_from_outside_alone(state: Path):
    done = subprocess.run(
        [sys.executable, "-c", CONNECT, str(state)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["inside: refused", "outside: connected", "['lo']"], done.stderr


def test_the_account_that_libvirt_asks_for_is_known_inside(state: Path):
    before = Path("/etc/passwd").read_bytes()
    Entered(state).leave()
    assert "libvirt-qemu" in inside(state, "id", "libvirt-qemu")
    assert Path("/etc/passwd").read_bytes() == before


def test_guests_who_are_not_root_get_terminals_and_kvm_in_it_also_in_one_of_an_earlier_release(state: Path):
    Entered(state).leave()
    asks = (
        "setpriv",
        "--reuid=1900000000",
        "--regid=1900000000",
        "--clear-groups",
        "--",
        "sh",
        "-c",
        "exec 3<>/dev/ptmx",
    )
    inside(state, *asks)
    # As it was made when guests were root: terminals of the machine, which it may keep to root, and its own device.
    earlier = "rm /dev/ptmx; ln -s pts/ptmx /dev/ptmx; rm -f /dev/kvm; mknod -m 600 /dev/kvm c 10 232"
    inside(state, "sh", "-c", earlier)
    Entered(state).leave()
    inside(state, *asks)
    assert inside(state, "stat", "-c", "%a %u %G", "/dev/kvm").split() == ["660", "0", "kvm"]
    assert inside(state, "stat", "-c", "%F", "/dev/ptmx").strip() == "character special file"


def test_a_command_can_run_on_one_network(state: Path):
    Entered(state).leave()
    inside(state, "ip", "netns", "add", namespace_name(NETWORK))
    done = floe("exec", "--state", str(state), "--network", NETWORK, "--", "sh", "-c", "ip netns identify; exit 3")
    assert done.stdout.strip() == namespace_name(NETWORK)
    assert done.returncode == 3
    other = floe("exec", "--state", str(state), "--network", "other", "--", "true")
    assert other.returncode == 1
    assert "'other'" in other.stderr


def test_a_sandbox_whose_holder_was_killed_is_found_through_what_lives_in_it(state: Path):
    Entered(state).leave()
    inside(state, "ip", "link", "add", "fbr0", "type", "bridge")
    inside(state, "sh", "-c", "setsid sleep 600 > /dev/null 2>&1 < /dev/null &")
    holder = json.loads((state / "sandbox" / "holder.json").read_text())["pid"]
    os.kill(holder, signal.SIGKILL)
    again = Entered(state)
    again.leave()
    assert not again.created
    assert json.loads((state / "sandbox" / "holder.json").read_text())["pid"] != holder
    assert "fbr0" in inside(state, "ip", "-br", "link")


def test_removing_it_ends_all_that_lives_in_it(state: Path):
    Entered(state).leave()
    inside(state, "ip", "netns", "add", "floe-test")
    inside(state, "sh", "-c", "ip netns exec floe-test setsid sleep 600 > /dev/null 2>&1 < /dev/null &")
    done = floe("sandbox", "remove", "--state", str(state), "--json")
    assert json.loads(done.stdout) == {"ended": 2}
    assert floe("sandbox", "status", "--state", str(state)).returncode == 1
    assert floe("exec", "--state", str(state), "--", "true").returncode == 1


def test_a_sandbox_in_use_is_neither_removed_nor_entered_twice(state: Path):
    user = Entered(state)
    refused = floe("sandbox", "remove", "--state", str(state))
    second = subprocess.run(
        [sys.executable, "-c", ENTER, str(state)], input="", capture_output=True, text=True, timeout=60, check=False
    )
    user.leave()
    assert refused.returncode == 1
    assert "is running in the sandbox" in refused.stderr
    assert "is running in the sandbox" in second.stderr
