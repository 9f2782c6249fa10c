"""Who shares a limit with whom, and who gives way first."""

from __future__ import annotations

from ipaddress import ip_network

from floe.api.front.gate import Gate
from floe.api.front.limits import Limits
from floe.api.front.pace import Pace
from floe.api.front.refusals import FULL, PEER_FULL, Refusal, Refusals
from floe.core.counters import Counters


class Caller:
    """A connection that says nothing for as long as it is told to."""

    def __init__(self, silent: float = 0.0) -> None:
        self._silent = silent
        self.gone = False

    def silent(self) -> float:
        return self._silent

    def give_way(self) -> None:
        self.gone = True


def gate(**named: object) -> Gate:
    limits = Limits(**named)  # type: ignore[arg-type]
    return Gate(limits, Refusals(limits, Counters()))


def enter(found: Gate, address: str, times: int = 1) -> Refusal | None:
    refusal = None
    for _ in range(times):
        refusal = found.enter(Caller(), address)
    return refusal


def test_addresses_of_one_ipv6_network_are_one_peer() -> None:
    found = gate(per_peer=2)
    assert enter(found, "2001:db8:1:2::1") is None
    assert enter(found, "2001:db8:1:2:ffff::9%eth0") is None
    assert enter(found, "2001:db8:1:2::3") is PEER_FULL
    assert enter(found, "2001:db8:1:3::1") is None


def test_an_ipv4_address_written_as_ipv6_is_the_same_peer() -> None:
    found = gate(per_peer=1)
    assert enter(found, "192.0.2.1") is None
    assert enter(found, "::ffff:192.0.2.1") is PEER_FULL
    assert enter(found, "192.0.2.2") is None


def test_a_trusted_proxy_is_bounded_by_the_whole_alone() -> None:
    found = gate(per_peer=1, connections=5, trusted=(ip_network("2001:db8::1/128"), ip_network("192.0.2.0/24")))
    assert enter(found, "2001:db8::1", 2) is None
    assert enter(found, "192.0.2.1", 2) is None
    assert enter(found, "2001:db8::2") is None
    assert enter(found, "192.0.2.1") is FULL


def test_the_longest_idle_gives_way_before_a_stalled_one_and_a_busy_one_never() -> None:
    found = gate(connections=4)
    busy, stalled, first, second = Caller(), Caller(silent=5), Caller(), Caller()
    for number, caller in enumerate((busy, stalled, first, second)):
        assert found.enter(caller, f"192.0.2.{number}") is None
    found.waits(stalled, within=True)
    found.waits(second)
    found.waits(first)
    for gone in (second, first, stalled):
        assert enter(found, "198.51.100.1") is None
        assert [caller.gone for caller in (busy, stalled, first, second)].count(True) >= 1 and gone.gone
    assert enter(found, "198.51.100.1") is FULL
    assert not busy.gone
    assert len(found) == 4


def test_a_body_that_moves_does_not_give_way() -> None:
    found = gate(connections=1)
    moving = Caller(silent=0.5)
    assert found.enter(moving, "192.0.2.1") is None
    found.waits(moving, within=True)
    assert enter(found, "192.0.2.2") is FULL
    found.works(moving)
    assert enter(found, "192.0.2.2") is FULL
    found.waits(moving)
    assert enter(found, "192.0.2.2") is None
    assert moving.gone


def test_who_leaves_twice_or_was_never_in_changes_nothing() -> None:
    found = gate(connections=2)
    caller = Caller()
    found.leave(caller)
    assert found.enter(caller, "192.0.2.1") is None
    found.leave(caller)
    found.leave(caller)
    found.waits(caller)
    assert len(found) == 0
    assert enter(found, "192.0.2.1", 2) is None
    assert enter(found, "192.0.2.1") is FULL


def test_refused_clients_are_waited_for_a_few_at_a_time() -> None:
    found = gate(lingering=2)
    callers = [Caller() for _ in range(3)]
    assert [found.linger(caller) for caller in callers] == [True, True, False]
    found.leave(callers[0])
    assert found.linger(callers[2])


def test_a_pace_is_too_slow_when_nothing_moves_or_little_does() -> None:
    pace = Pace(quiet=30, rate=1024, window=60, now=0)
    assert not pace.too_slow(29.9)
    assert pace.too_slow(30)
    for second in range(20, 61, 20):
        pace.moved(60 * 1024, second)
    assert not pace.too_slow(60)
    for second in range(80, 121, 20):
        pace.moved(1000, second)
    assert pace.left(110) == 10
    assert pace.too_slow(120)
    pace.restart(120)
    assert not pace.too_slow(149)
