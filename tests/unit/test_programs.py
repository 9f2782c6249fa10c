"""Every program that is called comes from a package that the set-up installs, or that every Debian has.

Seen are calls of the functions below with a program's name written where it is called; what hides from that, such as a
program that a program calls, `scripts/fresh` finds. No test is skipped where something is missing:
it would be everywhere.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from floe.cli import doctor
from floe.dataplane.linux import plane

ROOT = Path(__file__).parents[2]
CALLS = {"run", "Popen", "check_output", "create_subprocess_exec", "which", "find_program", "inside"}
NOT_PROGRAMS = {
    "console": "of the openstack client",
    "floating": "of the openstack client",
    **dict.fromkeys(["nothing", "web"], "servers that floe why-not is asked about"),
    "server": "of the openstack client",
    "guest-tap11": "the namespace that the program runs in",
}
PACKAGES = {
    "bash": "bash",
    "busybox": "busybox",
    "dnsmasq": "dnsmasq-base",
    **dict.fromkeys(["bridge", "ip"], "iproute2"),
    "libvirtd": "libvirt-daemon",
    "mcopy": "mtools",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "modprobe": "kmod",
    "mount": "mount",
    "nats-server": "nats-server",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "ssh-keygen": "openssh-client",
    "umount": "mount",
    **dict.fromkeys(["prlimit", "setpriv", "unshare"], "util-linux"),
    "systemd-analyze": "systemd",
    "virsh": "libvirt-clients",
    **dict.fromkeys(["cat", "chmod", "chown", "cp", "id", "ls", "od", "rm", "sleep", "stat", "true"], "coreutils"),
    "blkid": "util-linux",
    "find": "findutils",
    **dict.fromkeys(["initdb", "pg_isready", "postgres", "psql"], "postgresql"),
    "git": "git",
    "haproxy": "haproxy",
    "hostname": "hostname",
    "ldd": "libc-bin",
    "sh": "dash",
}
SKIPS = {
    "tests/cluster/test_upgrade.py": "the release before is in the history, which not every checkout has",
    "tests/contract/test_hypervisor.py": "what the fake cannot do; tests/e2e/test_libvirt_hypervisor.py runs it",
}
ONLY_SQLITE = {
    "tests/functional/compute/test_many_hosts.py",
    "tests/functional/conductor/test_aggregates.py",
    "tests/functional/identity/test_tokens.py",
    "tests/functional/network/test_costs.py",
    "tests/functional/network/test_router_costs.py",
    "tests/functional/test_restored_dumps.py",
    "tests/unit/network/test_list_plans.py",
    "tests/unit/test_store_plans.py",
}
"""Files with tests that are true of SQLite alone; each says why beside its mark."""
OF_SQLITE = {"Database", "sqlite3", "set_trace_callback", "set_progress_handler"}
ESSENTIAL = {"bash", "coreutils", "dash", "findutils", "hostname", "libc-bin", "util-linux"}


def called(folder: str) -> dict[str, list[str]]:
    """Return the programs that Python files below `folder` call, and where."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_file() and (path.suffix == ".py" or path.read_bytes()[:22] == b"#!/usr/bin/env python3"):
            for name, line in _called(ast.parse(path.read_text())):
                found.setdefault(name, []).append(f"{path.relative_to(ROOT)}:{line}")
    return found


def _called(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments) if name in CALLS:
                # The program comes first, or second after a place to run it in.
                words = [word for argument in arguments[:2] if (word := _word(argument))]
                if words and not words[0].startswith("-"):
                    yield Path(words[0]).name, node.lineno
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Call(args=elements):
                # What `ip` runs within a namespace.
                words = [_word(element) for element in elements]
                if words[:3] == ["ip", "netns", "exec"] and len(words) > 4 and words[4]:
                    yield Path(words[4]).name, node.lineno


def _word(node: ast.expr) -> str | None:
    match node:
        case ast.Constant(value=str(word)):
            return word
        case ast.List(elts=[first, *_]) | ast.Tuple(elts=[first, *_]) | ast.Starred(value=first):
            return _word(first)
    return None


@pytest.mark.parametrize("folder", ["src", "scripts", "tests"])
def test_the_package_of_every_program_is_known(folder: str):
    found = {name: places for name, places in called(folder).items() if name not in NOT_PROGRAMS}
    assert found
    assert {name: places for name, places in found.items() if name not in PACKAGES} == {}


def test_the_set_up_installs_the_packages():
    listed = subprocess.run(
        ["bash", "-c", '. scripts/lib/setup.sh; printf "%s\\n" "${PACKAGES[@]}" "${TEST_PACKAGES[@]}"'],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    installed = {package for line in listed.split() for package in line.split("|")}
    assert {package for package in PACKAGES.values() if package not in installed | ESSENTIAL} == set()
    told = {package for _, package in doctor.PROGRAMS.values()} | set(plane.PROGRAMS.values())
    assert {package for package in told if package not in installed | ESSENTIAL} == set()


def test_no_test_is_skipped_for_what_the_machine_lacks():
    skipping = {"skip", "skipif", "skipUnless", "skipIf", "importorskip", "xfail"}
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name) if name in skipping:
                    found.add(str(path.relative_to(ROOT)))
    assert found == set(SKIPS)


def on_postgresql() -> list[Path]:
    """Return the files of tests that `scripts/test postgresql` runs, and what these share."""
    listed = (ROOT / "scripts" / "test").read_text().partition("ON_POSTGRESQL=(")[2].partition(")")[0].split()
    paths = [ROOT / name for name in listed]
    assert [path for path in paths if not path.exists()] == []
    files = {file for path in paths for file in ([path] if path.suffix else path.rglob("*.py"))}
    return sorted(files | {shared for file in files if (shared := file.parent / "conftest.py").exists()})


def test_what_runs_on_postgresql_has_its_databases_from_who_lends_them():
    """A test that opens a file of its own would pass there whatever PostgreSQL does."""
    files = on_postgresql()
    assert len(files) > 30
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id=name)) | ast.Attribute(attr=name) | ast.Name(id=name) if (
                    name in OF_SQLITE
                ):
                    found.add(str(path.relative_to(ROOT)))
    assert found
    assert found <= ONLY_SQLITE


def test_a_test_of_sqlite_alone_says_why():
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "mark.sqlite" in text else ():
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="mark"), attr="sqlite"), args=[reason]):
                    assert isinstance(reason, ast.Constant)
                    assert isinstance(reason.value, str)
                    assert len(reason.value.split()) > 3, reason.value
                    found.add(str(path.relative_to(ROOT)))
    assert found == ONLY_SQLITE


def test_the_doctor_looks_for_what_is_called():
    # Without modprobe there may still be a kernel with all that is needed.
    assert set(called("src")) | set(plane.PROGRAMS) <= set(doctor.PROGRAMS) | {"modprobe"}
    text = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py") if path != Path(doctor.__file__))
    assert [name for name in doctor.PROGRAMS if f'"{name}"' not in text] == []
