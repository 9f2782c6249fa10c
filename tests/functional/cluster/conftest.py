"""A directory for a cluster, and one that runs: the same for all tests of a process, made whole before each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, end_all
from cluster_plan import planned


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
        cluster = Cluster(folder, planned(folder), bound=True)
        try:
            yield cluster
        finally:
            cluster.close()


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """A cluster in which everything runs, whatever the test before did to it."""
    running.start()
    return running
