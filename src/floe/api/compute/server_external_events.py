"""/os-server-external-events: what other services say of servers."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from floe.api.kit.body import Body, Field, Uuid
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin_or_service
from floe.api.kit.routing import Route
from floe.cloud import server_external_events as cloud
from floe.cloud.server_external_events import ExternalEvent

_NETWORK = ("network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted")
_LATER = ("volume-extended", "power-update", "accelerator-request-bound", "volume-reimaged")
_EDGES = ((2, 1), (2, 51), (2, 76), (2, 82), (2, 93), (9999, 9999))
"""From which version on there is one more name."""


def _events(count: int) -> Any:
    """Return the type of a list of events that have the names of the network, and some of the later ones."""
    event = msgspec.defstruct(
        "Event",
        [
            ("name", Literal[*_NETWORK, *_LATER[:count]]),
            ("server_uuid", Uuid),
            ("status", Literal["failed", "completed", "in-progress"], "completed"),
            ("tag", Annotated[str, Meta(max_length=255)] | msgspec.UnsetType, msgspec.UNSET),
        ],
        forbid_unknown_fields=True,
    )
    return Annotated[list[event], Meta(min_length=1, max_length=cloud.MOST)]  # type: ignore[valid-type]


_BODY = Body(
    None,
    tuple(
        Field("events", _events(count), required=True, since=since, until=(until[0], until[1] - 1))
        for count, (since, until) in enumerate(pairwise(_EDGES))
    ),
)


async def create(call: Call) -> Reply:
    """POST: each event has a code of its own; 207 if one of them is not taken."""
    asked = _BODY.read(await call.raw(), call.version)["events"]
    events = [
        ExternalEvent(
            name=event.name, server_id=event.server_uuid, tag=None if event.tag is msgspec.UNSET else event.tag
        )
        for event in asked
    ]
    codes = await cloud.take(call.cloud, events)
    shown = [
        msgspec.to_builtins(event) | {"status": "completed" if code == cloud.TAKEN else "failed", "code": code}
        for event, code in zip(asked, codes, strict=True)
    ]
    return Reply(200 if set(codes) == {cloud.TAKEN} else 207, {"events": shown})


_RULE = "os_compute_api:os-server-external-events:create"

ROUTES = (Route("POST", "/v2.1/os-server-external-events", create, _RULE),)

POLICIES = {_RULE: admin_or_service}
