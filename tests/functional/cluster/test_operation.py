"""What docs/howto/run-on-many-machines.md says of upgrades and of backups."""

from __future__ import annotations

from random import Random

from cluster import Cluster
from cluster_load import FOR_NOW, broken, under_load
from cluster_order import comes_to_rest, done_twice, starts
from role_processes import until


def test_processes_are_replaced_one_after_the_other_and_no_request_fails(cluster: Cluster) -> None:
    with under_load(cluster, "upgrade", Random(7)) as load:
        for name in ("api-1", "api-2", "conductor-1", "conductor-2", "agent-1", "api-1"):
            cluster.stop(name)
            cluster.begin(name)
            cluster.wait(name)
            until(cluster.serves_from_all, "the proxy does not take an API back")
            many = len(load.history)
            until(lambda: len(load.history) > many + 4, "the load stands still")  # noqa: B023
    assert [asked for asked in load.history if asked.status in FOR_NOW] == []
    assert broken(load.history) == []
    comes_to_rest(cluster, load.kept)
    assert done_twice(cluster) == []
    assert {server: starts(cluster)[server] for server in load.kept} == dict.fromkeys(load.kept, 1)
