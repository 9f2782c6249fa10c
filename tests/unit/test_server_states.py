"""What a server may be and hold, for every state and every power state."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import floe
from floe.core import server_states
from floe.core.guests import PowerState
from floe.core.server_states import Part
from floe.core.servers import ACTIVE, BUILDING, DELETED, DELETING, ERROR, PAUSED, POWERING_OFF, STOPPED, SUSPENDED

SOURCE = Path(floe.__file__).parent
IN_ORDER = (ACTIVE, STOPPED, PAUSED, SUSPENDED)
OFF = {PowerState.NOSTATE, PowerState.SHUTDOWN, PowerState.CRASHED}


@pytest.mark.parametrize("power", PowerState)
def test_a_server_in_order_is_what_its_guest_is_doing(power: PowerState) -> None:
    others = {PowerState.RUNNING: ACTIVE, PowerState.PAUSED: PAUSED, PowerState.SUSPENDED: SUSPENDED}
    expected = STOPPED if power in OFF else others[power]
    for before in IN_ORDER:
        assert server_states.follow(before, power) == expected
        assert server_states.agrees(before, power, power) == (before == expected)
    assert server_states.follow(ERROR, power) == ERROR
    assert server_states.agrees(ERROR, power, power)


@pytest.mark.parametrize("vm_state", [*IN_ORDER, ERROR])
@pytest.mark.parametrize("recorded", PowerState)
@pytest.mark.parametrize("real", PowerState)
def test_following_a_guest_once_is_enough(vm_state: str, recorded: PowerState, real: PowerState) -> None:
    after = server_states.follow(vm_state, real)
    assert server_states.agrees(after, real, real), "what was written from a host's word agrees with it"
    if recorded is not real:
        assert not server_states.agrees(after, recorded, real)


@pytest.mark.parametrize("vm_state", [*IN_ORDER, ERROR])
def test_a_settled_server_on_a_host_holds_all_of_it_and_on_none_nothing(vm_state: str) -> None:
    assert server_states.settled(vm_state, None)
    assert not server_states.settled(vm_state, DELETING)
    assert server_states.holds(vm_state, "h1") == set(Part)
    assert server_states.holds(vm_state, None) == set()
    assert server_states.may_be_nowhere(vm_state) == (vm_state == ERROR)


def test_what_is_being_built_or_is_gone_is_not_settled() -> None:
    assert not server_states.settled(BUILDING, None)
    assert not server_states.settled(DELETED, None)


@pytest.mark.parametrize("recorded", PowerState)
@pytest.mark.parametrize("real", PowerState)
def test_what_a_guest_does_while_something_is_done_with_its_server_is_looked_at_again(
    recorded: PowerState, real: PowerState
) -> None:
    for vm_state in (*IN_ORDER, ERROR):
        assert server_states.differs_meanwhile(vm_state, POWERING_OFF, recorded, real) == (recorded is not real)
        assert not server_states.differs_meanwhile(vm_state, DELETING, recorded, real)
        assert not server_states.differs_meanwhile(vm_state, None, recorded, real)
    assert not server_states.differs_meanwhile(BUILDING, "spawning", recorded, real)


def test_no_other_module_compares_power_states_with_states_of_servers() -> None:
    power = re.compile(r"\bPowerState\b|power_state|\.off\b")
    compared = re.compile(
        r"(?:==|!=|\bis\b|\bis not\b|\bin\b)\s*[({]?\s*(?:ACTIVE|STOPPED|PAUSED|SUSPENDED)\b|"
        r"\b(?:ACTIVE|STOPPED)\s+if\b|vm_state=(?:ACTIVE|STOPPED)\b"
    )
    there = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if power.search(path.read_text()) and compared.search(path.read_text())
    ]
    assert there == ["core/server_states.py"]
