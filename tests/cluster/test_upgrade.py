"""What docs/howto/run-on-many-machines.md says of upgrades, tried with code and schema of the release before."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from cluster_load import FOR_NOW, OFF, ON, REBOOT, Customer, broken, serving, under_load
from cluster_order import comes_to_rest, done_twice, starts
from cluster_plan import Shape, planned
from role_processes import until

from cluster import Cluster
from floe.store import migrate

ROOT = Path(__file__).parents[2]
BEFORE = (Path(__file__).parent / "release_before.txt").read_text().strip()
"""The commit of the release whose messages and journals were recorded last: see `scripts/lib/record_release.py`."""
APIS, CONDUCTORS, AGENTS = ("api-1", "api-2"), ("conductor-1", "conductor-2"), ("agent-1", "agent-2", "agent-3")
_HEARTBEAT = 10.0
ORDERS = {"as the howto says": (*APIS, *CONDUCTORS, *AGENTS), "the other way round": (*AGENTS, *CONDUCTORS, *APIS)}


@pytest.fixture(scope="session")
def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the release before, which the history of the repository has."""
    found = subprocess.run(["git", "archive", BEFORE, "src"], cwd=ROOT, capture_output=True, check=False)
    if found.returncode:
        pytest.skip(f"the history of this repository does not have {BEFORE}: {found.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("release-before")
    for place in (folder, *folder.parents[:-1]):  # pytest closes them, and agents are other users
        place.chmod(place.stat().st_mode | 0o011)
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder)  # of our own history
    return folder / "src"


@pytest.fixture
def older(folder: Path, release_before: Path) -> Iterator[Cluster]:
    """A cluster of the release before."""
    folder.mkdir(mode=0o711)
    cluster = Cluster(folder, planned(folder, Shape(fake_delay=0.3)), bound=True)
    cluster.releases = dict.fromkeys(cluster.roles, release_before)
    with serving(cluster):
        yield cluster


def now_of(cluster: Cluster, host: str) -> tuple[float, float]:
    """Return the time of day of the database, and when a host was heard of last, in seconds."""
    ((now, seen),) = cluster.rows(f"SELECT extract(epoch FROM now()), last_seen FROM hosts WHERE name = '{host}'")
    return float(now), int(seen) / 1_000_000


def heard_by_all(cluster: Cluster, agent: str) -> None:
    """Wait until every conductor has heard a heartbeat of an agent that was just started: until then it is down."""
    host = f"host-{agent.rpartition('-')[2]}"
    started, _ = now_of(cluster, host)
    until(lambda: now_of(cluster, host)[1] > started + _HEARTBEAT, f"{host} is not heard of")


def schema(cluster: Cluster) -> str:
    return str(cluster.rows("SELECT version_num FROM alembic_version")[0][0])


@pytest.mark.parametrize("order", ORDERS)
def test_each_process_of_the_release_before_is_replaced_under_load_and_no_request_fails(
    older: Cluster, order: str
) -> None:
    assert sorted(ORDERS[order]) == sorted(older.roles)
    assert schema(older) < migrate.HEAD, "the release before has a schema of its own"
    with Customer(older) as customer:
        customer.bring_image()
        kept = customer.create("kept")
        until(lambda: customer.states() == {kept: "ACTIVE"}, customer.states)
        with under_load(older, "upgrade", Random(7)) as load:
            upgrade = [sys.executable, "-m", "floe", "db", "upgrade", "--config", str(older.folder / "floe.toml")]
            done = subprocess.run(upgrade, check=False, capture_output=True, cwd=older.folder, text=True)
            assert done.returncode == 0, done.stderr
            assert schema(older) == migrate.HEAD
            for name in ORDERS[order]:
                older.stop(name)
                del older.releases[name]
                older.begin(name)
                older.wait(name)
                until(older.serves_from_all, "the proxy does not take an API back")
                if name in AGENTS[:-1]:
                    heard_by_all(older, name)  # who builds needs a host, and the next one is about to go
                many = len(load.history)
                until(lambda: len(load.history) > many + 4, "the load stands still")  # noqa: B023
                if name in {"api-1", "conductor-1"}:  # some are of one release, and some of the other
                    for asked, state in ((OFF, "SHUTOFF"), (ON, "ACTIVE")):
                        customer.change(kept, asked)
                        until(lambda: (customer.states() or {}).get(kept) == state, f"it does not become {state}")  # noqa: B023
                    booted = starts(older)[kept]
                    customer.change(kept, REBOOT)
                    until(lambda: starts(older)[kept] == booted + 1, "it is not booted")  # noqa: B023
                    until(lambda: (customer.states() or {}).get(kept) == "ACTIVE", "it does not run")
        assert older.releases == {}
        assert [asked for asked in load.history if asked.status in FOR_NOW] == []
        assert broken(load.history) == []
        comes_to_rest(older, {*load.kept, kept})
        assert done_twice(older) == []
        assert {server: starts(older)[server] for server in load.kept} == dict.fromkeys(load.kept, 1)
