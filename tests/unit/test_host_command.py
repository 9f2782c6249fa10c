"""`floe host`: what it prints for people, and the command that it prints for a machine."""

from __future__ import annotations

import argparse
import io
import shlex
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from floe.cli import COMMANDS, agent, host
from floe.core.host_keys import bus_digest

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


def member(**said: Any) -> dict[str, Any]:
    """Return a host as the API shows it."""
    plain: dict[str, Any] = {"name": "h1", "state": "up", "servers": 0, "enabled": True, "disabled_reason": None}
    return {**plain, "last_seen": None, "fingerprint": None, "token_expires_at": None, **said}


def lines(*hosts: dict[str, Any]) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=160, highlight=False, markup=False).print(host.table(hosts, NOW))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()[1:]]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"servers": 7, "last_seen": "2030-01-01T11:59:15.000000"}, "h1 up 7 45 s ago -"),
        ({"state": "down", "last_seen": "2029-12-30T11:00:00.000000"}, "h1 DOWN 0 2 d ago -"),
        ({"state": "down", "last_seen": "2030-01-01T10:00:00.000000"}, "h1 DOWN 0 2 h ago -"),
        ({"last_seen": "2030-01-01T12:00:05.000000", "fingerprint": "SHA256:x"}, "h1 up 0 0 s ago SHA256:x"),
        ({"enabled": False}, "h1 up, disabled 0 - -"),
        ({"enabled": False, "disabled_reason": "[red]\x1b[2Ja"}, "h1 up, disabled: [red]?[2Ja 0 - -"),
        ({"state": "awaited", "token_expires_at": "2030-01-01T12:30:00.0"}, "h1 awaited until 12:30 UTC 0 - -"),
        ({"state": "awaited", "token_expires_at": "2030-01-01T12:00:00.0"}, "h1 its token's hour is over 0 - -"),
        ({"state": "joined", "fingerprint": "SHA256:x"}, "h1 joined, not heard of yet 0 - SHA256:x"),
    ],
)
def test_a_host_is_a_line(said: dict[str, Any], shown: str) -> None:
    assert lines(member(**said)) == [shown]


@pytest.mark.parametrize("certificates", ["", "-----BEGIN CERTIFICATE-----\n..."])
def test_the_command_is_one_that_the_agent_takes(certificates: str) -> None:
    made: dict[str, Any] = {"name": "h1", "token": "a" * 64, "url": "https://[fd00::1]:8774", "bus": "tls://b:4222"}
    made["bus_ca"] = certificates or None
    program, name, *words = shlex.split(host.command(made))
    assert (program, name) == ("floe", "agent")
    assert name in COMMANDS
    parser = argparse.ArgumentParser()
    agent.add_arguments(parser)
    taken = parser.parse_args(words)
    assert (taken.deed, taken.url, taken.host) == ("join", made["url"], "h1")
    assert taken.token == f"{'a' * 64}.{bus_digest('tls://b:4222', certificates)}"
    others = {**made, "bus": "nats://b:4222"}, {**made, "bus_ca": "other"}
    assert len({host.command(each) for each in (made, *others)}) == 3, "another bus is another digest"


def test_an_agent_that_serves_takes_what_it_took() -> None:
    parser = argparse.ArgumentParser()
    agent.add_arguments(parser)
    taken = parser.parse_args(["--host", "h1", "--bus", "nats://127.0.0.1:4222"])
    assert (taken.deed, taken.host, taken.bus) == (None, "h1", "nats://127.0.0.1:4222")
