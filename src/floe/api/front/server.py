"""The HTTP server of the api role: uvicorn, with connections and a gate of our own."""

from __future__ import annotations

from functools import partial
from typing import Any

import uvicorn

from floe.api.front.connection import Connection
from floe.api.front.gate import Gate
from floe.api.front.limits import Limits
from floe.api.front.refusals import Refusals
from floe.core.counters import Counters


def configured(app: Any, counters: Counters, limits: Limits, **named: Any) -> uvicorn.Config:
    """Return the configuration of a server for an application; what is refused is counted."""
    refusals = Refusals(limits, counters)
    protocol: Any = partial(Connection, limits=limits, gate=Gate(limits, refusals), refusals=refusals)
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]  # a float does as well
        **named,
    )
