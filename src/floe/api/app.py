"""All surfaces behind one port, by prefix; `/` lists them, `/healthz` and `/metrics` are for operators."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from floe.api.compute.surface import SURFACE as COMPUTE
from floe.api.identity.surface import SURFACE as IDENTITY
from floe.api.image.surface import SURFACE as IMAGE
from floe.api.kit.call import Reply
from floe.api.kit.request import ClientGone, Request, Scope
from floe.api.kit.surface import Authenticate, Surface
from floe.api.metrics import Metrics
from floe.api.network.surface import SURFACE as NETWORK
from floe.api.operator.surface import SURFACE as OPERATOR
from floe.api.placement.surface import SURFACE as PLACEMENT
from floe.api.status import Healthy, Status
from floe.cloud.cloud import Cloud
from floe.cloud.tokens import authenticate

SURFACES: tuple[Surface, ...] = (IDENTITY, COMPUTE, IMAGE, NETWORK, PLACEMENT, OPERATOR)

_DICE = 64
"""Ids of requests that are made at once."""

Receive = Callable[[], Any]
Send = Callable[[Any], Any]


class App:
    """The ASGI application of the api role."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        surfaces: Sequence[Surface] = SURFACES,
        authenticate: Authenticate = authenticate,
        healthy: Healthy | None = None,
    ) -> None:
        self.cloud = cloud
        self._metrics = Metrics(cloud.counters)
        self._surfaces = {surface.name: surface for surface in surfaces}
        self._authenticate = authenticate
        self._status = Status(self._metrics, healthy or _no_parts)
        self._ids = _request_ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = time.perf_counter()
        request = Request(scope, receive)
        name, _, rest = scope["path"].lstrip("/").partition("/")
        surface = self._surfaces.get(name)
        request_id = next(self._ids)
        try:
            if surface is None:
                reply = await self._own(name, request_id)
            else:
                prefix = f"{self.cloud.settings.public_url}/{name}"
                reply = await surface.answer(request, "/" + rest, self.cloud, self._authenticate, request_id, prefix)
            await _send(send, reply, head=scope["method"] == "HEAD")
        except ClientGone:
            return
        self._metrics.add(name if surface else "root", reply.status, time.perf_counter() - started)

    async def _own(self, name: str, request_id: str) -> Reply:
        headers = {"x-openstack-request-id": request_id}
        if name == "":
            links = {key: f"{self.cloud.settings.public_url}/{key}" for key in self._surfaces}
            return Reply(200, {"name": "floe", "surfaces": links}, headers)
        if (said := await self._status.told(name)) is not None:
            return Reply(said.status, said.body, headers, said.media_type)
        surfaces = ", ".join("/" + key for key in self._surfaces)
        body = {
            "error": {
                "code": 404,
                "title": "Not Found",
                "message": f"There is no /{name} here, but {surfaces}.",
            }
        }
        return Reply(404, body, headers)


async def _no_parts() -> dict[str, str]:
    return {}


async def _send(send: Send, reply: Reply, *, head: bool) -> None:
    content = b"" if reply.stream else reply.content()
    headers = reply.fields()
    if reply.stream is None:
        if content or reply.status not in {204, 304}:
            headers.append((b"content-length", str(len(content)).encode()))
        if content:
            headers.append((b"content-type", reply.media_type.encode()))
    else:
        headers.append((b"content-type", reply.media_type.encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.stream is not None and not head:
        async for chunk in reply.stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        content = b""
    await send({"type": "http.response.body", "body": b"" if head else content})


def _request_ids() -> Iterator[str]:
    """Give ids of requests, each a random UUID: the kernel's dice are most of what one costs, so it throws many."""
    while True:
        dice = os.urandom(16 * _DICE).hex()
        for at in range(0, len(dice), 32):
            one = dice[at : at + 32]
            variant = "89ab"[int(one[16], 16) & 3]
            yield f"req-{one[:8]}-{one[8:12]}-4{one[13:16]}-{variant}{one[17:20]}-{one[20:]}"


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
