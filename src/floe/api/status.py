"""What every process tells operators: `/healthz` and `/metrics`; the whole of what one without an API serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from floe.api.metrics import MEDIA_TYPE, Metrics
from floe.core import health

Healthy = Callable[[], Awaitable[dict[str, str]]]


class Told(msgspec.Struct, frozen=True):
    """An answer: its status, its body and what that is."""

    status: int
    body: bytes
    media_type: str = "application/json"


class Status:
    """The two paths, and the ASGI application that has no others."""

    def __init__(self, metrics: Metrics, healthy: Healthy) -> None:
        self._metrics, self._healthy = metrics, healthy

    async def told(self, name: str) -> Told | None:
        """Answer a request for a path of this name, None where it is none of the two."""
        if name == "healthz":
            parts = await self._healthy()
            well = health.good(parts)
            said = {"status": "ok" if well else "degraded", "parts": parts}
            return Told(200 if well else 503, msgspec.json.encode(said))
        if name == "metrics":
            return Told(200, self._metrics.text(await self._healthy()), MEDIA_TYPE)
        return None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI scope, which is of a request."""
        said = await self.told(scope["path"].strip("/")) if scope["method"] in {"GET", "HEAD"} else None
        if said is None:
            text = f"There is no {scope['method']} {scope['path'][:80]} here, but GET /healthz and /metrics."
            said = Told(404, msgspec.json.encode({"error": {"code": 404, "title": "Not Found", "message": text}}))
        headers = [(b"content-type", said.media_type.encode()), (b"content-length", str(len(said.body)).encode())]
        await send({"type": "http.response.start", "status": said.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else said.body})
