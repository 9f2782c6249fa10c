"""What docs/howto/run-on-many-machines.md says of upgrades and of backups."""

from __future__ import annotations

from pathlib import Path
from random import Random

from cluster_load import FOR_NOW, OFF, ON, REBOOT, Customer, broken, under_load
from cluster_order import comes_to_rest, done_twice, guests, starts, violations
from role_processes import until

from cluster import Cluster

_EACH = (
    (OFF, "SHUTOFF"),
    (ON, "ACTIVE"),
    ({"pause": None}, "PAUSED"),
    ({"unpause": None}, "ACTIVE"),
    ({"suspend": None}, "SUSPENDED"),
    ({"resume": None}, "ACTIVE"),
)


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


def test_a_backup_that_is_restored_destroys_nothing_that_came_after_it(own_cluster: Cluster, tmp_path: Path) -> None:
    cluster = own_cluster
    with Customer(cluster) as customer:
        customer.bring_image()
        deleted, changed = customer.create("deleted-since"), customer.create("changed-since")
        comes_to_rest(cluster, {deleted, changed})
        dump = tmp_path / "floe.dump"
        cluster.program("pg_dump", "--format=custom", f"--file={dump}", cluster.database)
        new = customer.create("new-since")
        customer.delete(deleted)
        comes_to_rest(cluster, {new, changed})
        for action, state in _EACH * 2:
            customer.change(changed, action)
            until(lambda: (customer.states() or {}).get(changed) == state, f"it does not become {state}")  # noqa: B023

        control = [name for name in cluster.roles if not name.startswith("agent-")]
        for name in control:
            cluster.stop(name)
        for statement in ("DROP DATABASE floe WITH (FORCE)", "CREATE DATABASE floe"):
            cluster.rows(statement, "postgres")
        cluster.program("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={cluster.database}", str(dump))
        for name in control:
            cluster.begin(name)
        until(lambda: customer.states() == {deleted: "SHUTOFF", changed: "ACTIVE"}, customer.states)

        assert guests(cluster) == {new: 1, changed: 1}
        for action, state in _EACH:
            customer.change(changed, action)
            until(lambda: (customer.states() or {}).get(changed) == state, f"it does not become {state}")  # noqa: B023
        booted = starts(cluster)[changed]
        customer.change(changed, REBOOT)
        until(lambda: starts(cluster)[changed] == booted + 1, "it is not booted, as often as it was since the dump")
        another = customer.create("made-afterwards")
        customer.delete(deleted)
        until(lambda: customer.states() == {changed: "ACTIVE", another: "ACTIVE"}, customer.states)
        left = [("a guest is left on a host that should not have it", new)]
        until(lambda: [(each["rule"], each["subject"]) for each in violations(cluster)] == left, "it is not in order")
        assert guests(cluster) == {new: 1, changed: 1, another: 1}
