"""Bindings of ports: whoever changes a port, by whichever release, its hosts are told what they are to have."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from floe.cloud import audit_repair, server_ports
from floe.core import addresses as rules
from floe.core.clock import FixedClock
from floe.core.networks import Network
from floe.core.ports import Port
from floe.core.subnets import Subnet
from floe.store import (
    addresses,
    audit,
    group_members,
    host_networks,
    networks,
    plugged_ports,
    port_bindings,
    ports,
    subnets,
)
from floe.store.port_bindings import port_bindings as table

NOW = FixedClock().now()
HOSTS = ("h1", "h2", "h3")
NUMBER = st.integers(0, 1)
HOST = st.sampled_from(HOSTS)
STEP = st.one_of(
    st.tuples(st.sampled_from(["insert", "untie", "unplug", "remove", "again"]), NUMBER, HOST),
    st.tuples(st.sampled_from(["bind", "bind unplugged", "further", "activate", "delete"]), NUMBER, HOST),
)
Model = dict[str, dict[str, tuple[bool, bool]]]
"""Of each port its bindings: by host whether it is active, and whether it is plugged."""


def a_port(number: int, **values: Any) -> Port:
    ident = f"p{number}"
    mac = rules.mac_for(ident)
    return Port(id=ident, network_id="n", project_id="p", mac=mac, created_at=NOW, updated_at=NOW, **values)


def older(conn: sa.Connection, number: int, **values: Any) -> None:
    """Change a port's row as a release does that knows of no bindings."""
    conn.execute(sa.update(ports.ports).where(ports.ports.c.id == f"p{number}").values(**values))


def step(conn: sa.Connection, model: Model, kind: str, number: int, host: str) -> None:
    """Do one thing, to the rows and to the model."""
    ident = f"p{number}"
    held = model.get(ident)
    if kind == "insert":
        if held is None:
            assert ports.insert(conn, a_port(number, host=host, plugged=True, server_id=f"s{number}", nic=0))
            model[ident] = {host: (True, True)}
    elif held is None:
        return
    elif kind == "untie":
        ports.untie(conn, [ident])
        held.clear()
    elif kind == "unplug":
        older(conn, number, server_id=f"s{number}")
        ports.unplug(conn, f"s{number}")
        model[ident] = {at: (active, False) for at, (active, _) in held.items()}
    elif kind == "remove":
        ports.delete(conn, ident)
        del model[ident]
    elif kind == "again":
        older(conn, number, host=ports.ports.c.host, plugged=ports.ports.c.plugged)
    elif kind in {"bind", "bind unplugged"}:
        plugged = kind == "bind"
        older(conn, number, host=host, plugged=plugged)
        kept = {at: (False, its and plugged) for at, (active, its) in held.items() if not active}
        model[ident] = kept | {host: (True, plugged)}
    elif kind == "further":
        assert port_bindings.insert(conn, ident, host, plugged=True) == (host not in held) if held else True
        if held:
            held.setdefault(host, (False, any(active and plugged for active, plugged in held.values())))
    elif kind == "activate":
        assert port_bindings.activate(conn, ident, host) == (host in held)
        if host in held:
            plugged = held[host][1]
            # A port that is not plugged where it is active is plugged nowhere.
            model[ident] = {at: (at == host, its and plugged) for at, (_, its) in held.items()}
    elif kind == "delete":
        assert port_bindings.delete(conn, ident, host) == (host in held and not held[host][0])
        if host in held and not held[host][0]:
            del held[host]


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=25))
@example([("insert", 0, "h1"), ("bind unplugged", 0, "h2"), ("further", 0, "h1"), ("unplug", 0, "h1")])
def test_bindings_follow_the_ports_whatever_is_done(transaction: Any, steps: list[tuple[str, int, str]]) -> None:
    model: Model = {}
    with transaction() as conn:
        conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
        for kind, number, host in steps:
            step(conn, model, kind, number, host)
            if kind == "remove":  # as the database does where constraints hold
                conn.execute(sa.delete(table).where(table.c.port_id == f"p{number}"))
            assert port_bindings.drifted(conn) == []
            for ident, held in model.items():
                port = ports.get(conn, ident)
                assert port is not None
                found = {each.host: (each.status == "ACTIVE", each.plugged) for each in port.bindings}
                assert found == held
                assert [each.status == "ACTIVE" for each in port.bindings[:1]] == ([True] if held else [])
                assert port.host == next((at for at, (active, _) in held.items() if active), None)
                assert port.plugged_on == {at for at, (_, plugged) in held.items() if plugged}
            for at in HOSTS:
                told = [port.id for port in plugged_ports.on_host(conn, at)]
                assert told == sorted(ident for ident, held in model.items() if held.get(at, (False, False))[1])


def test_a_port_is_active_on_one_host_at_most(transaction: Any) -> None:
    with transaction() as conn:
        ports.insert(conn, a_port(0, host="h1", plugged=True))
        port_bindings.insert(conn, "p0", "h2", plugged=True)
        with pytest.raises(sa.exc.IntegrityError):
            conn.execute(sa.update(table).where(table.c.host == "h2").values(status="ACTIVE"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBER, st.sampled_from([None, *HOSTS]), st.booleans()), min_size=1, max_size=5))
def test_what_was_done_without_the_triggers_is_mended_when_they_are_made_again(
    transaction: Any, changes: list[tuple[int, str | None, bool]]
) -> None:
    with transaction() as conn:
        for number in (0, 1):
            ports.insert(conn, a_port(number, host="h1", plugged=True))
        for name in ("bind_ports_insert", "bind_ports_plug", "bind_ports_move"):
            conn.exec_driver_sql(f"DROP TRIGGER {name}")
        assert not port_bindings.kept(conn)
        ports.insert(conn, a_port(2, host="h3", plugged=True))
        for number, host, plugged in changes:
            older(conn, number, host=host, plugged=plugged)
        wrong = port_bindings.drifted(conn)
        assert "p2" in wrong
        told = {violation[1] for violation in audit.instant(conn) if "binding" in violation[0]}
        assert told == set(wrong)
        port_bindings.keep(conn)
        assert port_bindings.kept(conn)
        assert port_bindings.drifted(conn) == []
        for number in range(3):
            port = ports.get(conn, f"p{number}")
            assert port is not None
            bound = [(port.host, port.plugged)] if port.host else []
            assert [(each.host, each.plugged) for each in port.bindings] == bound


def test_the_repair_of_the_audit_binds_anew_and_says_so(transaction: Any) -> None:
    with transaction() as conn:
        ports.insert(conn, a_port(0, host="h1", plugged=True))
        conn.execute(sa.delete(table))
        assert audit_repair._bind_anew(conn) == ["port p0 was bound anew, as its row says"]
        assert audit_repair._bind_anew(conn) == []


def two_hosts(conn: sa.Connection) -> None:
    """Make a server's port that is plugged on two hosts, in a group about whose members a rule is."""
    networks.insert(conn, Network(id="n", project_id="p", mtu=1450, tag=1, created_at=NOW, updated_at=NOW))
    pools = ((FIRST, FIRST + 9),)
    subnet = Subnet(
        id="s", network_id="n", project_id="p", cidr="10.0.0.0/24", pools=pools, created_at=NOW, updated_at=NOW
    )
    subnets.insert(conn, subnet)
    ports.insert(conn, a_port(0, host="h1", plugged=True, server_id="server", nic=0, made=True, groups=("g",)))
    addresses.claim(conn, "n", "s", "p0", FIRST)
    port_bindings.insert(conn, "p0", "h2", plugged=True)
    for host in HOSTS:
        host_networks.advance(conn, host, NOW)


FIRST = rules.number_of("10.0.0.2")


def test_a_port_that_is_on_two_hosts_is_seen_and_taken_away_on_both(transaction: Any) -> None:
    with transaction() as conn:
        conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
        two_hosts(conn)
        assert ports.members(conn, ["g"], "h3") == {"g": {"10.0.0.2"}}
        assert ports.members(conn, ["g"], "h1") == {"g": {"10.0.0.2"}}
        assert group_members.hosts_of(conn, [FIRST]) == {("g", FIRST): {"h1", "h2"}}
        of_network = host_networks.want_where(conn, ports.HOSTS_OF_NETWORK, {"ident": "n"})
        assert (of_network, host_networks.stale(conn)) == (2, ["h1", "h2"])
        generations = {host: host_networks.wanted(conn, host) for host in HOSTS}
        told = server_ports.unplug(conn, "server", NOW)
        assert told.generations == {"h1": generations["h1"] + 1, "h2": generations["h2"] + 1}
        assert [plugged_ports.on_host(conn, host) for host in HOSTS] == [[], [], []]
        assert server_ports.unplug(conn, "server", NOW).generations == {}


def test_a_port_that_is_given_back_makes_both_its_hosts_stale(transaction: Any) -> None:
    with transaction() as conn:
        conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
        two_hosts(conn)
        assert server_ports.release(conn, "server", NOW) == ("p0",)
        assert host_networks.stale(conn) == ["h1", "h2"]


def test_a_further_binding_of_a_server_at_rest_is_told_by_the_audit(transaction: Any) -> None:
    with transaction() as conn:
        ports.insert(conn, a_port(0, host="h1", plugged=True, server_id="server"))
        assert audit.rows(conn).ports[0].further == 0
        port_bindings.insert(conn, "p0", "h2", plugged=False)
        assert audit.rows(conn).ports[0].further == 1
