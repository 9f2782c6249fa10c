"""The units of systemd say what the commands take, and what keeps guests running."""

from __future__ import annotations

import configparser
import shutil
import subprocess
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


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    there = tmp_path / unit.name
    there.write_text(unit.read_text().replace("/opt/floe/bin/floe", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", there], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
