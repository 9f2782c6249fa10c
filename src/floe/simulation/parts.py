"""What a run is made with: what the parts of the product hand each other goes through these, unchanged by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Any, TypeVar

from floe.bus.protocol import Bus
from floe.cloud.cloud import Cloud
from floe.conductor.saga import Saga
from floe.hypervisors.protocol import Hypervisor

T = TypeVar("T")


def same(part: T) -> T:
    """Return a part as it is."""
    return part


def same_plan(_cloud: Cloud, saga: Saga) -> Saga:
    """Return a plan as it is."""
    return saga


def boot_of(host: str, boots: int) -> str:
    """Return by what an agent knows a boot of its machine."""
    return f"{host}-{boots}"


def one_of(there: Sequence[Any], dice: Random) -> Sequence[Any]:
    """Return who takes an event for one, of those who share: one of them."""
    return [dice.choice(there)] if there else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Seams of a world. Each is given the real thing, and returns what is used in its place."""

    bus: Callable[[Bus], Bus] = same
    """What programs reach each other by."""
    hypervisor: Callable[[Hypervisor], Hypervisor] = same
    """What an agent makes guests with."""
    plan: Callable[[Cloud, Saga], Saga] = same_plan
    """What a conductor does in an action."""
    boot_id: Callable[[str, int], str] = boot_of
    """What an agent takes for the boot of its machine, given its host and how often that was started."""
    takers: Callable[[Sequence[Any], Random], Sequence[Any]] = one_of
    """To whom the bus gives an event for one, of those who share."""

    def over(self, others: Parts) -> Parts:
        """Return these parts, and of the others those that are not said here."""
        return Parts(
            **{
                field.name: getattr(self if getattr(self, field.name) is not field.default else others, field.name)
                for field in fields(self)
            }
        )
