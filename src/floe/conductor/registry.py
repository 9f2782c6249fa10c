"""Which workflow does which kind of action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from floe.cloud.cloud import Cloud
from floe.conductor.choices import Choices
from floe.conductor.create_server import CreateServer
from floe.conductor.delete_server import DeleteServer
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.placing import Placing
from floe.conductor.power import GuestActions
from floe.conductor.reservations import Reservations
from floe.conductor.saga import Saga

Workflows: TypeAlias = Callable[[Cloud, Fleet, ConductorSettings], Mapping[str, Saga]]
"""What knows them all."""


def sagas(cloud: Cloud, fleet: Fleet, settings: ConductorSettings) -> Mapping[str, Saga]:
    """Return all workflows by kind."""
    choices = Choices(cloud, fleet, settings)
    placing = Placing(cloud, fleet, choices)
    reservations = Reservations(cloud, fleet, settings, placing)
    made = (
        CreateServer(cloud, fleet, settings, placing, reservations).saga(),
        DeleteServer(cloud, fleet).saga(),
        *GuestActions(cloud, fleet, settings).sagas(),
    )
    return {saga.kind: saga for saga in made}
