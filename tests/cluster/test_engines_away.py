"""What was accepted is done, whichever engine goes away under it, and nothing of it twice."""

from __future__ import annotations

import time
from random import Random

from cluster_load import FOR_NOW, Customer, broken, under_load
from cluster_order import comes_to_rest, done_twice, starts
from role_processes import until

from cluster import Cluster

AWAY = 12.0
"""Seconds without a bus: more than a heartbeat, so that hosts could be taken for dead."""


def test_without_a_bus_for_a_while_every_server_of_24_is_built(cluster: Cluster) -> None:
    """It stands still with every connection open for the first half, and is dead for the other."""
    with Customer(cluster) as customer:
        customer.bring_image()
        made = {customer.create(f"before-{number}") for number in range(8)}
        began = time.monotonic()
        cluster.freeze("nats")
        made |= {customer.create(f"stands-still-{number}") for number in range(8)}
        until(lambda: time.monotonic() - began >= AWAY / 2, "")
        cluster.kill("nats")
        made |= {customer.create(f"dead-{number}") for number in range(8)}
        until(lambda: time.monotonic() - began >= AWAY, "")
        cluster.begin("nats")
        comes_to_rest(cluster, made)
        assert broken(customer.history) == []
        assert [asked for asked in customer.history if asked.status in FOR_NOW] == []
        assert done_twice(cluster) == []
        assert {server: starts(cluster)[server] for server in made} == dict.fromkeys(made, 1)


def test_a_database_that_is_stopped_immediately_under_load_loses_nothing_that_was_accepted(cluster: Cluster) -> None:
    with under_load(cluster, "power", Random(1)) as load:
        until(lambda: len(load.kept) + len(load.deleted) >= 8, "the load stands still")
        cluster.stop_immediately()
        until(lambda: load.history[-1].status in FOR_NOW, "nobody misses the database")
        cluster.begin("postgres")
        until(lambda: load.looker.history[-1].status == 200, "the APIs do not come back")
        before = len(load.kept) + len(load.deleted)
        until(lambda: len(load.kept) + len(load.deleted) >= before + 8, "the load stands still")
        cluster.stop_immediately()  # and is back before anybody is refused
        cluster.begin("postgres")
        until(lambda: len(load.kept) + len(load.deleted) >= before + 16, "the load stands still")
    assert broken(load.history) == []
    comes_to_rest(cluster, load.kept)
    assert done_twice(cluster) == []
    assert {server: starts(cluster)[server] for server in load.kept} == dict.fromkeys(load.kept, 1)
