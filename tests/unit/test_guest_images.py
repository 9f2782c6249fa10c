"""`scripts/build-guest-image`: what it refuses, and that an image knows nothing of the machine it was made on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACES = (
    "etc/apt/sources.list", "etc/apt/sources.list.d/0000debian.sources", "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap", "etc/hostname", "etc/machine-id", "etc/resolv.conf",
    "etc/.resolv.conf.systemd-resolved.bak", "etc/ssh/ssh_host_ed25519_key", "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed", "var/lib/apt/lists/mirror.example_Packages", "var/log/apt/term.log",
    "var/log/dpkg.log", "tmp/left",
)  # fmt: skip


def build(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/build-guest-image", *words],
        env={"PATH": "/usr/bin:/bin", "GUEST_IMAGE_CACHE": str(cache)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def of_debian(function: str, root: Path, recipe: Path = ROOT / "images/debian") -> None:
    script = f". scripts/lib/debian_image.sh; root=$1 recipe=$2; umask 022; set -euo pipefail; {function}"
    subprocess.run(["bash", "-c", script, "build", str(root), str(recipe)], cwd=ROOT, check=True)


@pytest.mark.parametrize("words", [["ubuntu"], ["debian", "--fast"], ["--cached", "cirros"]])
def test_what_it_does_not_know_is_refused(words: list[str], tmp_path: Path):
    done = build(*words, cache=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no {words[-1]}; usage: scripts/build-guest-image" in done.stderr


@pytest.mark.parametrize("words", [[], ["tiny"], ["debian"]])
def test_what_is_not_built_yet_is_not_built_where_only_the_path_is_asked_for(words: list[str], tmp_path: Path):
    assert build(*words, "--cached", cache=tmp_path).returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_machine_stays_in_a_debian_image(tmp_path: Path):
    for trace in TRACES:
        (tmp_path / trace).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / trace).write_text("of mirror.example\n")
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    of_debian("forget_this_machine", tmp_path)
    left = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert left.keys() == {"etc/hostname", "etc/machine-id", "etc/passwd", "etc/.updated", "var/.updated"}
    assert (left["etc/hostname"], left["etc/machine-id"]) == ("debian\n", "")
    assert str((tmp_path / "etc/resolv.conf").readlink()).startswith("../run/")


def test_files_of_a_recipe_are_readable_in_the_image_however_they_lie_here(tmp_path: Path):
    folder = tmp_path / "recipe/rootfs/etc"
    folder.mkdir(parents=True)
    for name, mode in (("table", 0o600), ("hook", 0o700)):
        (folder / name).touch(mode)
    (folder / "link").symlink_to("hook")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/table").write_text("of a package")
    of_debian("lay_over", root, tmp_path / "recipe")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root / "etc").iterdir()}
    assert modes == {"table": 0o644, "hook": 0o755, "link": 0o755}
    assert (root / "etc/table").read_text() == ""
    assert (root / "etc/link").is_symlink()
