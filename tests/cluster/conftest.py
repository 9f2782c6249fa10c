"""A directory for a cluster, and one that runs: the same for all tests of a process, made whole before each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_load import serving
from cluster_order import remove_all
from cluster_plan import Shape, planned

from cluster import Cluster, end_all


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new directory that every user may pass through: pytest keeps its own to itself."""
    with tempfile.TemporaryDirectory(prefix="floe-cluster-") as name:
        Path(name).chmod(0o711)
        yield Path(name) / "cluster"
        end_all(Path(name) / "cluster")


@pytest.fixture(scope="session")
def running() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="floe-cluster-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with serving(Cluster(folder, planned(folder, Shape(fake_delay=0.3)), bound=True)) as cluster:
            yield cluster


@pytest.fixture
def own_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster for one test, which leaves it in no order."""
    folder.mkdir(mode=0o711)
    cluster = Cluster(folder, planned(folder), bound=True)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """A cluster in which everything runs and there are no servers, whatever the test before did to it."""
    running.start()
    remove_all(running)
    return running


@pytest.fixture
def chaos_seconds(request: pytest.FixtureRequest) -> float:
    """For how long what happens by chance goes on."""
    found: float = request.config.getoption("chaos_seconds")
    return found
