"""What would have two processes undo each other's work is refused at the start, with what would be right."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats_server import NatsServer
from role_processes import RoleProcess, Roles, role_processes

from floe.cli.state_directory import hold, hold_host, hold_role, share
from floe.core.errors import Conflict


@pytest.fixture
def roles(tmp_path: Path, nats: NatsServer) -> Iterator[Roles]:
    with role_processes(tmp_path, nats.url) as roles:
        yield roles


def floe(*words: object) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "floe", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env)


@pytest.mark.parametrize("role", ["api", "conductor", "agent"])
def test_a_role_alone_needs_a_bus_that_is_shared(tmp_path: Path, role: str) -> None:
    listen = "--listen" if role == "api" else "--status-listen"
    done = floe(role, "--state", tmp_path / "state", "--hypervisor", "fake", listen, "127.0.0.1:0")
    assert done.returncode == 2
    assert "bus is not set" in done.stderr
    assert "nats://127.0.0.1:4222" in done.stderr
    assert "Traceback" not in done.stderr


def test_floe_up_takes_no_bus(tmp_path: Path) -> None:
    file = tmp_path / "floe.toml"
    file.write_text(f'state = "{tmp_path / "state"}"\nbus = "nats://127.0.0.1:4222"\nhypervisor = "fake"\n')
    done = floe("up", "--config", file, "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "bus is 'nats://127.0.0.1:4222', which `floe up` has no use for" in done.stderr


@pytest.mark.parametrize("role", ["api", "conductor"])
def test_the_sandbox_is_for_who_has_guests(tmp_path: Path, role: str) -> None:
    file = tmp_path / "floe.toml"
    file.write_text(f'state = "{tmp_path / "state"}"\nbus = "nats://127.0.0.1:4222"\nsandbox = true\n')
    done = floe(role, "--config", file)
    assert done.returncode == 2
    assert "sandbox is for `floe up` and `floe agent`" in done.stderr


@pytest.mark.parametrize(
    ("bus", "more", "says"),
    [
        ("nats://10.0.0.6:4222", "", "bus is 'nats://10.0.0.6:4222', which is not reached from within a sandbox"),
        ("tls://bus.example:4222", "", "bus is 'tls://bus.example:4222', which is not"),
        ("nats://127.0.0.1:4222", "https://cloud.example", "images_from is 'https://cloud.example', which is not"),
    ],
)
def test_from_a_sandbox_the_loopback_alone_is_reached(tmp_path: Path, bus: str, more: str, says: str) -> None:
    words = ("--images-from", more) if more else ()
    flags = ("--state", tmp_path / "state", "--hypervisor", "fake", "--status-listen", "127.0.0.1:0")
    done = floe("agent", "--sandbox", "--bus", bus, *words, *flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "state" / "sandbox").exists()


def test_two_of_one_name_and_two_of_one_host_are_refused(roles: Roles) -> None:
    first = roles.start("conductor", "1").ready()
    agent = roles.start("agent", "h1").ready()
    done = floe("conductor", "--config", roles.config, "--instance", "1", "--status-listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert f"another process (pid {first.process.pid}) already is 'conductor-1'" in done.stderr
    assert "--instance" in done.stderr
    done = floe("agent", "--config", roles.config, "--host", "h1", "--status-listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert f"another agent (pid {agent.process.pid}) already serves host 'h1'" in done.stderr
    done = floe("up", "--state", roles.state, "--hypervisor", "fake", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "roles in processes of their own (floe api, floe conductor, floe agent) already use" in done.stderr


@pytest.fixture
def umask() -> Iterator[None]:
    """Keep that of the tests, which a process that takes a state directory changes."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_state_directory_is_shared_by_roles_or_held_by_one(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(Conflict, match=f"another `floe up` .pid {os.getpid()}. already uses"):
        share(tmp_path)
    with share(tmp_path), share(tmp_path):
        with pytest.raises(Conflict, match="roles in processes of their own"):
            hold(tmp_path)
        with hold_role(tmp_path, "api") as folder, hold_role(tmp_path, "api-2") as other:
            assert folder != other
            with pytest.raises(Conflict, match="already is 'api'"), hold_role(tmp_path, "api"):
                pass
        with hold_host(tmp_path, "h1"), hold_host(tmp_path, "h2"), pytest.raises(Conflict, match="serves host 'h1'"):
            hold_host(tmp_path, "h1").__enter__()
    hold(tmp_path).close()


@pytest.mark.parametrize("host", ["../h1", "a/b", ".", "x" * 300])
def test_a_host_that_is_no_name_is_refused(roles: Roles, host: str) -> None:
    done = floe("agent", "--config", roles.config, "--host", host, "--status-listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "host must be" in done.stderr


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--bus", "http://127.0.0.1:4222", "bus must be servers like nats://10.0.0.1:4222"),
        ("--bus", "nats://user:secret@127.0.0.1:4222", "bus must be servers"),
        ("--instance", "a/b", "instance must be up to 32 letters"),
        ("--instance", "x" * 33, "instance must be up to 32 letters"),
        ("--status-listen", "8775", "status_listen must be HOST:PORT"),
    ],
)
def test_settings_of_roles_are_checked(tmp_path: Path, flag: str, value: str, says: str) -> None:
    done = floe("conductor", "--state", tmp_path / "state", flag, value)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_process_with_other_keys_is_refused_and_one_with_a_new_key_beside_the_old_is_not(roles: Roles) -> None:
    first = roles.start("conductor").ready()
    assert first.stop() == 0
    file = roles.state / "secrets.json"
    found = json.loads(file.read_text())
    keys = [*found["token_keys"], base64.urlsafe_b64encode(bytes(32)).decode()]

    def start_with(*keys: str) -> RoleProcess:
        file.write_text(json.dumps({**found, "token_keys": keys}))
        return roles.start("conductor")

    other = start_with(keys[1])
    assert other.process.wait(timeout=120) == 1
    assert "none of the token_keys in this process's secrets.json is one of this cloud's" in other.log
    assert start_with(keys[1], keys[0]).ready().stop() == 0
    assert start_with(keys[1]).ready().stop() == 0
