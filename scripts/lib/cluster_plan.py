"""What a cluster is made of, and what is kept of it in its directory."""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ENGINES = ("postgres", "nats")
PROXY, PROXY_STATE = "proxy", "proxy-state"
APIS = ("api-1", "api-2")
CONDUCTORS = ("conductor-1", "conductor-2")
PLAN = "cluster.json"
FAKE, LIBVIRT = "fake", "libvirt"
_PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to connections, so that a port is still free when a process starts anew."""


class ClusterFailed(Exception):
    """Something does not start, or may not be touched; the text says what, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a cluster is made of."""

    agents: int = 3
    hosts_each: int = 1
    fake_delay: float = 0.0
    hypervisor: str = FAKE

    def names(self) -> list[str]:
        """Return the names of its agents."""
        return [f"agent-{number}" for number in range(1, self.agents + 1)]

    def said(self) -> str:
        """Return it in words."""
        if self.hypervisor == LIBVIRT:
            return f"{self.agents} agents with libvirt"
        return f"{self.agents} agents with {self.hosts_each} hosts each (fake delay {self.fake_delay:g} s)"

    def hosts(self, agent: str) -> list[str]:
        """Return the names of an agent's hosts."""
        host = agent.replace("agent", "host")
        return [f"{host}-{number}" for number in range(1, self.hosts_each + 1)] if self.hosts_each > 1 else [host]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is kept of a cluster in its directory: all that a process needs to start again as it was."""

    shape: Shape
    ports: Mapping[str, int]
    password: str


def planned(folder: Path, shape: Shape | None = None, *, usual: int = 0) -> Plan:
    """Return the plan of the cluster of a directory, which is made if there is none.

    A new one has the APIs at the usual port, if nobody listens there. Raises ClusterFailed.
    """
    plan = read_plan(folder)
    if plan is None:
        shape = shape or Shape()
        names = [*ENGINES, PROXY, PROXY_STATE, *APIS, *CONDUCTORS, *shape.names()]
        plan = Plan(shape=shape, ports=_free_ports(names, usual), password=secrets.token_hex(16))
        half = folder / f".{PLAN}"
        half.touch(mode=0o600)
        half.write_text(json.dumps(asdict(plan)))
        half.rename(folder / PLAN)
    elif shape and plan.shape != shape:
        text = f"{folder} has a cluster of {plan.shape.said()}, not of {shape.said()}"
        raise ClusterFailed(f"{text}: end that first, by --end, or give another --dir")
    return plan


def read_plan(folder: Path) -> Plan | None:
    """Return how the cluster of a directory is planned, None where there is none. Raises ClusterFailed."""
    try:
        found = json.loads((folder / PLAN).read_text())
        return Plan(**{**found, "shape": Shape(**found["shape"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        text = f"{folder / PLAN} is not as this release writes it ({error}): end it first, by --end."
        raise ClusterFailed(text) from None


def _free_ports(names: Sequence[str], usual: int) -> dict[str, int]:
    """Give each a port that nobody listens on."""
    found: dict[str, int] = {}
    dice = random.SystemRandom()
    for name in names:
        first = [usual] if usual and name == PROXY else []
        for port in (*first, *dice.sample(_PORTS, 200)):
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                if port not in found.values():
                    found[name] = port
                    break
        else:
            raise ClusterFailed("no port is free on 127.0.0.1")
    return found
