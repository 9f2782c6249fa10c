"""The units of systemd say what the commands take, and what keeps guests running."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from floe.cli import COMMANDS

FOLDER = Path(__file__).parent.parent.parent / "packaging" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))


def read(unit: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(unit)
    return found


def test_each_role_has_a_unit() -> None:
    assert [unit.stem for unit in UNITS] == ["floe-agent", "floe-api", "floe-conductor"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_that_there_is_and_waits_until_it_is_ready(unit: Path) -> None:
    service = read(unit)["Service"]
    role = unit.stem.removeprefix("floe-")
    assert service["ExecStart"] == f"/opt/floe/bin/floe {role} --config /etc/floe.toml"
    assert role in COMMANDS
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert int(service["WatchdogSec"]) >= 10
    assert service["RestartPreventExitStatus"] == "2"
    assert (service.get("KillMode") == "process") == (role == "agent")  # guests are children of the agent
