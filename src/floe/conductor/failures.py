"""Why a step or an action failed, in a form that the journal keeps."""

from __future__ import annotations

import traceback

import msgspec

from floe.core.errors import FloeError, HostFailure, NoValidHost, Unavailable
from floe.core.texts import shortened

_MESSAGE, _DETAIL = 1000, 4000
"""Characters that are kept of a failure: its message stands in four rows, its details for administrators in two."""
_HOSTS = 600
"""Characters about single hosts, where there are more than a refusal names."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a step, or a whole action, failed: a text for the user, and details for administrators. Both are bounded."""

    kind: str
    message: str
    detail: str = ""
    host: str = ""
    stage: str = ""
    cause: str = ""


def failure_of(error: Exception) -> Failure:
    """Describe an error; what was not raised on purpose is not shown to users."""
    if isinstance(error, HostFailure):
        return Failure(
            kind=error.kind,
            message=shortened(error.message, _MESSAGE),
            detail=shortened(error.detail, _DETAIL),
            host=error.host,
            stage=error.stage,
            cause=error.cause,
        )
    if isinstance(error, NoValidHost):
        return Failure(kind=error.kind, message=shortened(error.message, _MESSAGE), detail=hosts_told(error))
    if isinstance(error, FloeError):
        return Failure(kind=error.kind, message=shortened(error.message, _MESSAGE))
    text = shortened("".join(traceback.format_exception(error)), _DETAIL)
    return Failure(kind="internal", message="Unexpected error; it is in the cloud's log.", detail=text)


def hosts_told(error: NoValidHost) -> str:
    """Say why each host was rejected, a line for each.

    Where there are more than a refusal names, those that came nearest stand first, alike ones in one line as long as
    there is room, and the last line sums up all others.
    """
    if not error.others:
        return "\n".join(f"{host}: {shortened(reason, _MESSAGE)}" for host, reason in sorted(error.reasons.items()))
    alike: dict[str, list[str]] = {}
    for host, reason in error.reasons.items():
        alike.setdefault(reason, []).append(host)
    lines = [f"{', '.join(hosts)}: {reason}" for reason, hosts in alike.items()]
    return shortened("\n".join(lines), _HOSTS) + f"\n{error.others}"


def error_of(failure: Failure) -> FloeError:
    """Return the error that a recorded failure stands for."""
    if failure.kind == Unavailable.kind:
        return Unavailable(failure.message)
    return HostFailure(
        failure.message, host=failure.host, stage=failure.stage, detail=failure.detail, cause=failure.cause
    )
