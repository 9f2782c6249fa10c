"""The command line: sub-commands, the doctor's findings, credentials for a shell."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import pytest

from floe import cli
from floe.cli import clouds_file, confinement, credentials, kvm
from floe.cli.confinement import Confinement
from floe.cli.doctor import Machine, diagnose, fit, look
from floe.cli.findings import Level
from floe.cli.outside import Outside
from floe.cli.sandbox.furnish import with_accounts
from floe.cli.state_directory import Loose
from floe.core.errors import Invalid
from floe.dataplane.linux.links import Device
from floe.settings import Settings

CONFINED = Confinement(uids=range(1_900_000_000, 1_900_016_384), known=True, closed="", modules=(), kvm_closed=False)
OUTSIDE = Outside(
    external="host",
    sandbox=False,
    gateway="172.24.4.1/24",
    devices={
        "eth0": Device(name="eth0"),
        "br0": Device(name="br0", kind="bridge"),
        "eth1": Device(name="eth1", master="br0"),
        "fxb123": Device(name="fxb123", kind="bridge", alias="floe:public"),
    },
    addresses={"eth0": ["192.0.2.7/24"], "lo": ["127.0.0.1/8"]},
    dropping=(),
    docker=False,
)
FIT = Machine(
    root=True,
    kvm=kvm.Kvm(device=True, access=True, flag="vmx"),
    programs={"qemu-system-x86_64": "/usr/bin/qemu-system-x86_64", "nft": "/usr/sbin/nft"},
    libvirt_binding="9.0.0",
    libvirt_driver=True,
    libvirt_daemon=False,
    uefi=True,
    nic_limits=True,
    libvirt_account=True,
    confinement=CONFINED,
    outside=OUTSIDE,
    bridge_filter=True,
    namespaces=True,
    state=Path("/var/lib/floe"),
    loose=(),
    disk_path="/var/lib",
    disk_free=100 << 30,
    memory_available=8 << 30,
    clock=1_800_000_000.0,
    clock_synchronised=True,
)


def levels(machine: Machine) -> dict[str, Level]:
    return {finding.name: finding.level for finding in diagnose(machine)}


def test_a_fit_machine_has_nothing_to_mend():
    findings = diagnose(FIT)
    assert {finding.level for finding in findings} == {Level.OK}
    assert not any(finding.remedy for finding in findings)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"root": False}, "root"),
        ({"programs": {"nft": None}}, "nft"),
        ({"libvirt_binding": ""}, "libvirt binding"),
        ({"libvirt_driver": False}, "libvirt driver"),
        ({"confinement": dataclasses.replace(CONFINED, known=False)}, "confinement"),
        ({"confinement": dataclasses.replace(CONFINED, closed="/srv/private")}, "confinement"),
        ({"bridge_filter": False}, "br_netfilter"),
        ({"outside": dataclasses.replace(OUTSIDE, external="eth9")}, "external"),
        ({"outside": dataclasses.replace(OUTSIDE, external="eth1")}, "external"),
        ({"outside": dataclasses.replace(OUTSIDE, addresses={"eth0": ["172.24.0.1/16"]})}, "external"),
        ({"outside": dataclasses.replace(OUTSIDE, addresses={"eth0": ["172.24.4.9/32"]})}, "external"),
        ({"namespaces": False}, "namespaces"),
        ({"loose": [Loose(what="others may write to it", remedy="chmod go-w it")]}, "state directory"),
        ({"clock": 0.0}, "clock"),
    ],
)
def test_what_a_host_needs_is_missing_and_has_a_remedy(change, name):
    findings = diagnose(dataclasses.replace(FIT, **change))
    assert not fit(findings)
    (finding,) = [f for f in findings if f.level is Level.MISSING]
    assert finding.name == name
    assert finding.remedy


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"disk_free": 1 << 30}, "disk"),
        ({"outside": dataclasses.replace(OUTSIDE, external="eth0")}, "external"),
        ({"outside": dataclasses.replace(OUTSIDE, dropping=["ip filter FORWARD"], docker=True)}, "forwarding"),
        ({"memory_available": 1 << 28}, "memory"),
        ({"clock_synchronised": False}, "clock"),
        ({"libvirt_account": False}, "libvirt driver"),
        ({"uefi": False}, "uefi"),
        ({"nic_limits": False}, "NIC limits"),
        ({"nic_limits": None}, "NIC limits"),
        ({"confinement": dataclasses.replace(CONFINED, modules=("AppArmor",))}, "confinement"),
        ({"confinement": dataclasses.replace(CONFINED, kvm_closed=True)}, "kvm"),
        ({"kvm": kvm.Kvm(device=False, access=False, flag="svm")}, "kvm"),
        ({"kvm": kvm.Kvm(device=True, access=False, flag="svm")}, "kvm"),
    ],
)
def test_what_only_hurts_is_a_warning(change, name):
    machine = dataclasses.replace(FIT, **change)
    assert fit(diagnose(machine))
    assert levels(machine)[name] is Level.WARN


def test_a_kvm_device_without_the_processors_flag_is_called_a_trap():
    trap = kvm.Kvm(device=True, access=True, flag="")
    assert not trap.usable
    (finding,) = [f for f in diagnose(dataclasses.replace(FIT, kvm=trap)) if f.name == "kvm"]
    assert finding.level is Level.WARN
    assert "/dev/kvm is there, but" in finding.what


def test_the_processors_flag_is_a_whole_word():
    assert kvm.flag_in("processor\t: 0\nflags\t\t: fpu vmx sse2\n") == "vmx"
    assert kvm.flag_in("flags : fpu svm\n") == "svm"
    assert kvm.flag_in("flags : fpu vmxx svme\nbugs : svm\n") == ""


def test_looking_at_this_machine_changes_nothing_and_says_where_the_disk_is(tmp_path):
    machine = look(Settings(state=tmp_path / "not" / "yet" / "there"))
    assert machine.disk_path == str(tmp_path)
    assert machine.root is (os.geteuid() == 0)
    assert list(tmp_path.iterdir()) == []


def test_guests_of_a_libvirtd_are_confined_by_what_the_kernel_has_too():
    machine = dataclasses.replace(
        FIT, libvirt_daemon=True, confinement=dataclasses.replace(CONFINED, modules=("AppArmor",))
    )
    (finding,) = [f for f in diagnose(machine) if f.name == "confinement"]
    assert finding.level is Level.OK
    assert "AppArmor" in finding.what


@pytest.mark.parametrize(
    ("table", "known"),
    [
        ("         0          0 4294967295\n", True),
        ("         0     100000      65536\n", False),
        ("0 100000 65536\n1900000000 5 8192\n1900008192 9000 8192\n", True),
        ("1900000000 5 8192\n1900008193 9000 8192\n", False),
        ("", False),
    ],
)
def test_whether_a_container_has_the_ids_of_guests(table, known):
    assert confinement.mapped(CONFINED.uids, table) is known


def test_an_account_is_added_only_if_its_whole_name_is_missing():
    assert with_accounts("root:x:0:\nkvm2:x:9:", ["kvm:x:1:", "root:x:7:"]) == "root:x:0:\nkvm2:x:9:\nkvm:x:1:\n"
    assert with_accounts("kvm:x:104:\n", ["kvm:x:1:"]) == "kvm:x:104:\n"


def test_an_unknown_command_is_refused_with_those_there_are(capsys):
    assert cli.main(["fly"]) == 2
    assert "exec" in capsys.readouterr().err


def test_every_command_of_the_overview_has_a_line():
    for name in cli.COMMANDS:
        assert f"  {name} " in cli.overview()


CLOUDS = credentials.clouds("http://127.0.0.1:8774/identity/v3", "RegionOne", {"admin": "a'b\"c$d", "demo": "é: #x"})


def test_clouds_yaml_is_read_back_as_it_was_written():
    assert clouds_file.parse(credentials.clouds_yaml(CLOUDS)) == CLOUDS


@pytest.mark.parametrize("text", ["", "servers:\n", "clouds:\n  floe:\n    auth: nonsense\n", "no colon here"])
def test_a_clouds_yaml_that_floe_did_not_write_is_refused(text):
    with pytest.raises(Invalid):
        clouds_file.parse(text)


def test_openrc_prints_the_password_of_the_cloud_asked_for(tmp_path, capsys):
    (tmp_path / "clouds.yaml").write_text(credentials.clouds_yaml(CLOUDS))
    assert cli.main(["openrc", "--state", str(tmp_path), "--cloud", "floe"]) == 0
    assert "export OS_PASSWORD='é: #x'" in capsys.readouterr().out
    assert cli.main(["openrc", "--state", str(tmp_path), "--cloud", "other"]) == 1
    assert "floe-system-admin" in capsys.readouterr().err


def test_openrc_before_the_first_start_says_what_writes_the_file(tmp_path, capsys):
    assert cli.main(["openrc", "--state", str(tmp_path)]) == 1
    assert "floe up writes it" in capsys.readouterr().err


def test_exec_without_a_command_is_refused(tmp_path, capsys):
    assert cli.main(["exec", "--state", str(tmp_path), "--"]) == 1
    assert "needs a command" in capsys.readouterr().err


def test_the_scripts_may_be_run():
    scripts = Path(__file__).parents[2] / "scripts"
    for name in ("demo", "test", "test-debian", "check", "build-guest-image"):
        assert (scripts / name).stat().st_mode & stat.S_IXUSR
