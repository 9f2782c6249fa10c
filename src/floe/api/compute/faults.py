"""Faults as Nova writes them."""

from __future__ import annotations

from typing import Any


def compute_envelope(status: int, _reason: str, message: str, _request_id: str) -> Any:
    """Write a fault as Nova does."""
    name = {
        400: "badRequest",
        401: "unauthorized",
        403: "forbidden",
        404: "itemNotFound",
        405: "badMethod",
        409: "conflictingRequest",
        413: "overLimit",
        415: "badMediaType",
        429: "overLimit",
        501: "notImplemented",
        503: "serviceUnavailable",
    }.get(status, "computeFault")
    return {name: {"code": status, "message": message}}
