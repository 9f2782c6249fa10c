"""The units of systemd say what the commands take, and what keeps guests running."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from floe.cli import COMMANDS

FOLDER = Path(__file__).parent.parent.parent / "packaging" / "systemd"
RELOAD = "floe-bus-reload"
MOUNTING = (
    *(
        "PrivateDevices",
        "PrivateIPC",
        "PrivateMounts",
        "PrivateTmp",
        "ProcSubset",
        "ProtectControlGroups",
        "ProtectHome",
    ),
    *("ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem"),
    *("BindPaths", "BindReadOnlyPaths", "DynamicUser", "ExecPaths", "InaccessiblePaths", "MountFlags", "MountImages"),
    *("NoExecPaths", "ReadOnlyPaths", "ReadWritePaths", "RootDirectory", "RootImage", "TemporaryFileSystem"),
)
"""Options that give a unit a mount namespace, another one at each start."""
UNITS = sorted(unit for unit in FOLDER.glob("*.service") if unit.stem != RELOAD)


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


def test_the_agents_unit_leaves_it_the_machines_mounts_and_devices() -> None:
    """Named network namespaces are mounts, which the next start has to find; guests need /dev/kvm and /dev/net/tun."""
    service = read(FOLDER / "floe-agent.service")["Service"]
    assert {name for name in service if name.startswith(MOUNTING)} == set()
    assert {"ProtectClock", "DeviceAllow", "DevicePolicy"} & set(service) == set()  # of the clock's: before systemd 253


def test_the_server_of_the_bus_is_told_when_the_file_changes_that_the_howto_names() -> None:
    watched = read(FOLDER / f"{RELOAD}.path")["Path"]["PathChanged"]
    howto = (FOLDER.parent.parent / "docs" / "howto" / "join-a-host.md").read_text()
    assert f'bus_config = "{watched}"' in howto
    assert f"{RELOAD}.path" in howto
    assert watched.startswith(f"/var/lib/{read(FOLDER / 'floe-api.service')['Service']['StateDirectory']}/")
    service = read(FOLDER / f"{RELOAD}.service")["Service"]
    assert service["ExecStart"] == "systemctl reload nats-server.service"
    assert service["Type"] == "oneshot"
