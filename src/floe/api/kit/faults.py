"""Errors on the wire: kinds to statuses in one table, and what each surface's own envelope is."""

from __future__ import annotations

from collections.abc import Callable
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
    NotSupported,
    NoValidHost,
    Outdated,
    OverQuota,
    StoreUnavailable,
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
    NotSupported: 501,
    Unavailable: 503,
    StoreUnavailable: 503,
}

Envelope = Callable[[int, str, str, str], Any]
"""(status, reason, message, request id) -> the JSON body; the reason is the error's, a word of the core's."""


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error; 500 for what was not raised on purpose."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
