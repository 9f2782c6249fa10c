"""Why a step or an action failed, in a form that the journal keeps."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field

from floe.core.errors import FloeError, HostFailure, NoValidHost, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step, or a whole action, failed: a text for the user, details and reasons by host for administrators."""

    kind: str
    message: str
    detail: str = ""
    host: str = ""
    stage: str = ""
    cause: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)


def failure_of(error: Exception) -> Failure:
    """Describe an error; what was not raised on purpose is not shown to users."""
    if isinstance(error, HostFailure):
        return Failure(
            kind=error.kind,
            message=error.message,
            detail=error.detail,
            host=error.host,
            stage=error.stage,
            cause=error.cause,
        )
    if isinstance(error, NoValidHost):
        detail = "\n".join(f"{host}: {reason}" for host, reason in sorted(error.reasons.items()))
        return Failure(kind=error.kind, message=error.message, detail=detail, reasons=error.reasons)
    if isinstance(error, FloeError):
        return Failure(kind=error.kind, message=error.message)
    text = "".join(traceback.format_exception(error))
    return Failure(kind="internal", message="Unexpected error; it is in the cloud's log.", detail=text)


def error_of(failure: Failure) -> FloeError:
    """Return the error that a recorded failure stands for."""
    if failure.kind == Unavailable.kind:
        return Unavailable(failure.message)
    return HostFailure(
        failure.message, host=failure.host, stage=failure.stage, detail=failure.detail, cause=failure.cause
    )
