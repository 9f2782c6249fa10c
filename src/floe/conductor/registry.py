"""Which workflow does which kind of action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from floe.cloud.cloud import Cloud
from floe.conductor.attach_interface import GuestInterfaces
from floe.conductor.choices import Choices
from floe.conductor.create_server import CreateServer
from floe.conductor.delete_image import DeleteImage
from floe.conductor.delete_server import DeleteServer
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.move_ends import MoveEnd
from floe.conductor.moving import Moving
from floe.conductor.offload_server import OffloadServer
from floe.conductor.placing import Placing
from floe.conductor.power import GuestActions
from floe.conductor.rebuild_server import RebuildServer
from floe.conductor.rescue_server import RescueServer
from floe.conductor.reservations import Reservations
from floe.conductor.resize_server import ResizeServer
from floe.conductor.saga import Saga
from floe.conductor.shelve_server import ShelveServer
from floe.conductor.snapshot_server import ServerImages
from floe.conductor.unshelve_server import UnshelveServer
from floe.conductor.upload_image import UploadImage

Workflows: TypeAlias = Callable[[Cloud, Fleet, ConductorSettings], Mapping[str, Saga]]
"""What knows them all."""


def sagas(cloud: Cloud, fleet: Fleet, settings: ConductorSettings) -> Mapping[str, Saga]:
    """Return the workflows of servers by kind: a conductor does them."""
    choices = Choices(cloud, fleet, settings)
    placing = Placing(cloud, fleet, choices)
    reservations = Reservations(cloud, fleet, settings, placing)
    made = (
        CreateServer(cloud, fleet, settings, placing, reservations).saga(),
        DeleteServer(cloud, fleet).saga(),
        RebuildServer(cloud, fleet, settings).saga(),
        *RescueServer(cloud, fleet, settings).sagas(),
        ShelveServer(cloud, settings).saga(),
        OffloadServer(cloud, fleet).saga(),
        UnshelveServer(cloud, fleet, settings, placing).saga(),
        *ResizeServer(
            cloud, fleet, settings, choices, Moving(cloud, fleet, settings, placing), MoveEnd(cloud, settings)
        ).sagas(),
        *GuestActions(cloud, fleet, settings).sagas(),
        *GuestInterfaces(cloud, fleet, settings).sagas(),
        *ServerImages(cloud, settings).sagas(),
    )
    return {saga.kind: saga for saga in made}


def image_sagas(cloud: Cloud) -> Mapping[str, Saga]:
    """Return the workflows of images by kind: they are done by a process that has the bytes of images."""
    return {saga.kind: saga for saga in (UploadImage(cloud).saga(), DeleteImage(cloud).saga())}
