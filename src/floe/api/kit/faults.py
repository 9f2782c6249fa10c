"""Errors on the wire: kinds to statuses in one table, and each surface's envelope."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from floe.core.errors import (
    Busy,
    Conflict,
    FloeError,
    Forbidden,
    Gone,
    HostFailure,
    Invalid,
    NotAcceptable,
    NotFound,
    NoValidHost,
    Outdated,
    OverQuota,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)

STATUS: dict[type[FloeError], int] = {
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    OverQuota: 403,
    NotFound: 404,
    NotAcceptable: 406,
    Conflict: 409,
    Gone: 410,
    Outdated: 412,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Busy: 429,
    NoValidHost: 500,
    HostFailure: 500,
    Unavailable: 503,
}

Envelope = Callable[[int, str, str, str], Any]
"""(status, reason, message, request id) -> the JSON body; the reason is the error's, a word of the core's."""


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error; 500 for what was not raised on purpose."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


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
        503: "serviceUnavailable",
    }.get(status, "computeFault")
    return {name: {"code": status, "message": message}}


def identity_envelope(status: int, _reason: str, message: str, _request_id: str) -> Any:
    """Write a fault as Keystone does."""
    return {"error": {"code": status, "message": message, "title": HTTPStatus(status).phrase}}


def image_envelope(status: int, _reason: str, message: str, _request_id: str) -> Any:
    """Write a fault as Glance does when it is asked for JSON."""
    return {
        "code": f"{status} {HTTPStatus(status).phrase}",
        "title": HTTPStatus(status).phrase,
        "message": message,
    }


def placement_envelope(status: int, _reason: str, message: str, request_id: str) -> Any:
    """Write a fault as Placement does."""
    title = HTTPStatus(status).phrase
    return {"errors": [{"status": status, "title": title, "detail": message, "request_id": request_id}]}
