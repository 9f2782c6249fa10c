"""`scripts/fresh` leaves nothing behind, however it ends: no process, no mount, no folder."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_cloud import eventually

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
# A run whose root is empty but for a mount, with a process that is no child of the first.
RUN = """
. scripts/lib/fresh.sh
stage=$1 keep=$2 place=''
trap clean_up EXIT
make_place
contained eval 'contain
    mount -t tmpfs none "$root"
    setsid --fork sleep 600
    echo "$place"
    '"$3"
"""
FOR_GOOD = "sleep 600; true"


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has entered its namespaces."""

    process: subprocess.Popen[str]
    place: Path
    stage: Path
    namespace: str

    def processes(self) -> list[str]:
        """Return the ids of the processes in the run's PID namespace."""
        return [path.name for path in Path("/proc").glob("[0-9]*") if pid_namespace(path.name) == self.namespace]


def pid_namespace(pid: str) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended; the first process may be another's
        return ""


@contextmanager
def running(stage: Path, inside: str, keep: str = "") -> Iterator[Run]:
    stage.mkdir()
    with subprocess.Popen(
        ["bash", "-c", RUN, "fresh", str(stage), keep, inside],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            place = Path(process.stdout.readline().strip())
            run = Run(process, place, stage, pid_namespace((place / "first").read_text().strip()))
            assert len(run.processes()) >= 2
            yield run
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_of_it(number: signal.Signals, tmp_path: Path):
    with running(tmp_path / "stage", FOR_GOOD) as run:
        run.process.send_signal(number)
        assert run.process.wait(60) == -number
        assert run.processes() == []
        assert not run.place.exists()
        assert not run.stage.exists()


@pytest.mark.parametrize("status", [0, 3])
def test_what_a_command_leaves_running_ends_with_it(status: int, tmp_path: Path):
    with running(tmp_path / "stage", f"read -r; exit {status}") as run:
        _, _ = run.process.communicate("go\n", timeout=60)
        assert run.process.returncode == status
        assert run.processes() == []
        assert not run.place.exists()


def test_what_a_killed_run_leaves_the_next_one_removes(tmp_path: Path):
    with running(tmp_path / "first", FOR_GOOD) as killed:
        killed.process.kill()
        eventually("its processes to end", lambda: killed.processes() == [])
        assert killed.place.exists()
        with running(tmp_path / "second", FOR_GOOD) as other, running(tmp_path / "third", FOR_GOOD) as third:
            assert not killed.place.exists()
            assert other.place.exists(), "a run that goes on was taken for a killed one"
            for run in (other, third):
                run.process.terminate()
                run.process.wait(60)


def test_a_root_is_kept_where_that_is_asked_for(tmp_path: Path):
    with running(tmp_path / "stage", "read -r", keep="yes") as run:
        _, told = run.process.communicate("go\n", timeout=60)
    assert f"rm -r {run.place}" in told
    with running(tmp_path / "next", FOR_GOOD) as other:
        assert (run.place / "root").exists()
        other.process.terminate()
        other.process.wait(60)
    subprocess.run(["rm", "-r", run.place], check=True)
