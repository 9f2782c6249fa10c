"""Roles are killed, stand still, and are cut off from their engines, and what was accepted is done once."""

from __future__ import annotations

import time
from collections import Counter
from random import Random

from cluster_load import REBOOT, Customer, broken, under_load
from cluster_order import comes_to_rest, done_twice, starts
from relay import relay
from role_processes import until

from cluster import Cluster

KINDS = ("api", "conductor", "agent")
PAST_THE_LEASE = 5.0
"""Seconds after which what a conductor had in hand is another's."""


def test_roles_killed_at_random_under_load_lose_and_leave_nothing(cluster: Cluster, chaos_seconds: float) -> None:
    dice, killed = Random(10), Counter[str]()
    with under_load(cluster, "chaos", dice) as load:
        end = time.monotonic() + chaos_seconds
        while time.monotonic() < end or len(killed) < len(KINDS):
            name = dice.choice(cluster.roles)
            cluster.kill(name)
            killed[name.partition("-")[0]] += 1
            passes(dice.uniform(0, 1.5))
            cluster.begin(name)
    assert len(load.kept) + len(load.deleted) > chaos_seconds, f"hardly anything was done between {killed}"
    for name in cluster.roles:
        cluster.wait(name)
    comes_to_rest(cluster, load.kept)
    assert broken(load.history) == []
    assert done_twice(cluster) == []


def test_a_conductor_that_stood_still_does_nothing_again_that_the_other_went_on_with(cluster: Cluster) -> None:
    with Customer(cluster) as customer:
        customer.bring_image()
        made = {customer.create(f"still-{each}") for each in range(20)}
        stands_still(cluster, "conductor-1")
        comes_to_rest(cluster, made)
        assert {server: starts(cluster)[server] for server in made} == dict.fromkeys(made, 1)
        for server in made:
            customer.change(server, REBOOT)
        stands_still(cluster, "conductor-2")
        comes_to_rest(cluster, made)
        until(lambda: set(starts(cluster).values()) == {2}, lambda: starts(cluster))
        assert done_twice(cluster) == []
        assert broken(customer.history) == []


def stands_still(cluster: Cluster, name: str) -> None:
    """Freeze a process until what it had in hand is another's, and let it go on."""
    cluster.freeze(name)
    passes(PAST_THE_LEASE)
    cluster.thaw(name)


def passes(seconds: float) -> None:
    """Let time pass, which is all that there is to wait for."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end, "")


def test_an_agent_that_stood_still_under_load_does_nothing_late(cluster: Cluster) -> None:
    with under_load(cluster, "frozen", Random(3)) as load:
        until(lambda: len(load.kept) >= 4, "the load stands still")
        stands_still(cluster, "agent-2")
        many = len(load.kept) + len(load.deleted)
        until(lambda: len(load.kept) + len(load.deleted) >= many + 6, "the load stands still")
    comes_to_rest(cluster, load.kept)
    assert broken(load.history) == []
    assert done_twice(cluster) == []


def test_a_conductor_that_is_cut_off_from_the_database_is_replaced_by_the_other(cluster: Cluster) -> None:
    with relay(cluster.plan.ports["postgres"]) as way:
        replaced_with(cluster, "conductor-1", cluster.database_at(way.port))
        with under_load(cluster, "cut", Random(4)) as load:
            until(lambda: len(load.kept) >= 4, "the load stands still")
            with way.cut():
                many = len(load.kept) + len(load.deleted)
                until(lambda: cluster.healthz("conductor-1")[0] != 200, "it does not say that it has no database")
                until(lambda: len(load.kept) + len(load.deleted) >= many + 12, "the load stands still")
        comes_to_rest(cluster, load.kept)
        replaced_with(cluster, "conductor-1", cluster.database)
    assert broken(load.history) == []
    assert done_twice(cluster) == []
    assert {server: starts(cluster)[server] for server in load.kept} == dict.fromkeys(load.kept, 1)


def replaced_with(cluster: Cluster, name: str, database: str) -> None:
    """Have a process begin anew that finds the database at another address."""
    cluster.databases[name] = database
    cluster.stop(name)
    cluster.begin(name)
    cluster.wait(name)
