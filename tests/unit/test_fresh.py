"""`scripts/fresh`: what it refuses, and what of the machine's configuration it passes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bash(script: str, *words: str, path: Path | None = None) -> str:
    """Run `script` with the functions of scripts/lib/fresh.sh, programs in `path` before the machine's."""
    search = os.pathsep.join(map(str, [*([path] if path else []), os.environ["PATH"]]))
    done = subprocess.run(
        ["bash", "-c", f". scripts/lib/fresh.sh; {script}", "fresh", *words],
        cwd=ROOT, env={**os.environ, "PATH": search}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("words", [["--user"], ["--as-user", "-x", "bash"], ["--keep=yes"]])
def test_an_option_that_there_is_not_is_refused_before_anything_is_made(words: list[str]):
    done = subprocess.run([ROOT / "scripts/fresh", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    option = next(word for word in words if word != "--as-user")
    assert f"there is no option {option}; usage: scripts/fresh [--as-user]" in done.stderr


def test_help_is_all_that_a_reader_needs():
    done = subprocess.run([ROOT / "scripts/fresh", "--help"], capture_output=True, text=True, check=True)
    for word in ("--as-user", "--dirty", "--keep", "COMMAND...", "exit status"):
        assert word in done.stdout
    assert "set -euo" not in done.stdout


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        pytest.param(
            [
                "bookworm-updates|bookworm-updates|main|http://mirror.example/|/etc/apt/debian.sources:1|Debian",
                "bookworm|bookworm|main|http://mirror.example/|/etc/apt/debian.sources:1|Debian",
                "bookworm|bookworm|contrib|http://mirror.example/|/etc/apt/debian.sources:1|Debian",
                "bookworm-security|bookworm-security|main|http://safe.example/|/etc/apt/debian.sources:2|Debian",
            ],
            [
                "http://mirror.example/ bookworm /etc/apt/debian.sources",
                "http://mirror.example/ bookworm-updates /etc/apt/debian.sources",
                "http://safe.example/ bookworm-security /etc/apt/debian.sources",
            ],
            id="the suite itself comes first",
        ),
        pytest.param(
            [
                "bookworm|bookworm|main|https://database.example/|/etc/apt/database.list:1|Makers of a database",
                "bookworm|bookworm|stable|https://containers.example/|/etc/apt/containers.list:1|Containers",
                "bookworm|$(CODENAME)|main|file:/srv/packages/|/etc/apt/own.list:1|$(ORIGIN)",
                "stable|bookworm|main|http://mirror.example/|/etc/apt/sources.list:3|Debian",
            ],
            ["http://mirror.example/ stable /etc/apt/sources.list"],
            id="others than the distribution are left out",
        ),
        pytest.param(
            ["trixie|trixie|main|http://mirror.example/|/etc/apt/sources.list:1|Debian"], [], id="another release"
        ),
    ],
)
def test_the_sources_are_those_of_the_distribution(targets: list[str], expected: list[str], tmp_path: Path):
    (tmp_path / "apt-get").write_text("\n".join(["#!/bin/sh", "cat <<'END'", *targets, "END", ""]))
    (tmp_path / "apt-get").chmod(0o755)
    assert bash('distribution_sources "$1"', "bookworm", path=tmp_path).splitlines() == expected


def test_files_that_the_configuration_names_are_found_and_folders_are_not(tmp_path: Path):
    for name in ("authority.pem", "constraints.txt", "unnamed"):
        (tmp_path / name).touch()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "pip.conf").write_text(
        f"[global]\ncert = {tmp_path}/authority.pem\nfind-links={tmp_path}/wheels\nlog = {tmp_path}/not-there\n"
    )
    (tmp_path / "environment").write_bytes(f"PIP_CONSTRAINT={tmp_path}/constraints.txt\0HOME=/root\0".encode())
    found = bash('files_named_in "$@"', f"{tmp_path}/pip.conf", f"{tmp_path}/none", f"{tmp_path}/environment")
    assert found.split() == [f"{tmp_path}/authority.pem", f"{tmp_path}/constraints.txt"]


def test_any_of_several_packages_will_do(tmp_path: Path):
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\nprintf 'ii  busybox-static\\nrc  gcc\\nii  g++\\n'\nexit 1\n")
    (tmp_path / "dpkg-query").chmod(0o755)
    wanted = ["busybox|busybox-static", "gcc", "g++", "virsh|libvirt-clients"]
    assert bash('missing_packages "$@"', *wanted, path=tmp_path).split() == ["gcc", "virsh"]


def test_a_change_of_the_script_while_it_runs_is_not_run(tmp_path: Path):
    for name in ("fresh.sh", "setup.sh"):
        shutil.copy(ROOT / "scripts/lib" / name, tmp_path)
    change = 'echo ran; printf "\\necho changed\\n" >> "$0"'
    words = ["bash", tmp_path / "fresh.sh", "eval", change]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "ran\n"
