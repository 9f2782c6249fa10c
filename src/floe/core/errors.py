"""Every way in which Floe refuses or fails.

    FloeError
      Invalid            what was asked makes no sense             (field, value, what would be right)
      Unauthenticated    who asks is not known
      Forbidden          who asks may not
      OverQuota          the project has no room                   (resource, asked, used, limit)
      Busy               too much is asked at once, or too soon    (seconds until it may be asked again)
      NotFound           no such thing, or not for this project
      Conflict           it exists, or its state forbids it now
      Outdated           it changed since the caller read it
      Gone               it was there
      NotAcceptable      no such version of the API
      TooLarge           more bytes than allowed
      UnsupportedMedia   another content type is wanted
      NoValidHost        the scheduler rejected every host         (reasons of the nearest, by host)
      NotSupported       what it is asked of has no means to do it
      HostFailure        a host could not do what it was told      (host, stage)
      Unavailable        a part of the cloud does not answer; trying again may help

None of them knows HTTP: each surface turns a kind into a status with one table (`api/kit/faults.py`).
The text of an error is for a user: what was wrong, with which value, and what would be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from floe.core.step_times import StepTime


class FloeError(Exception):
    """The root of all errors that Floe raises on purpose.

    `reason` is a word for programs: the kind, or something more exact where a surface has a name of its own for it.
    """

    kind: ClassVar[str] = "internal"

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.kind


class Invalid(FloeError):
    """A request that makes no sense, whoever asks and whenever."""

    kind = "invalid"


class Unauthenticated(FloeError):
    """No token, or one that is unknown, expired or revoked."""

    kind = "unauthenticated"


class Forbidden(FloeError):
    """The caller is known and may not do this."""

    kind = "forbidden"


class OverQuota(FloeError):
    """The project's quota has no room for this; the text names resource, asked, used and limit."""

    kind = "over_quota"


class Busy(FloeError):
    """Too much is asked at once, or again too soon; nothing was done, and after `seconds` it may be asked again."""

    kind = "busy"

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class NotFound(FloeError):
    """There is no such thing, or it belongs to somebody else."""

    kind = "not_found"

    def __init__(self, what: str, ident: str = "", message: str | None = None) -> None:
        super().__init__(message or f"No {what} {ident!r} was found.", reason=f"{what.replace(' ', '_')}_{self.kind}")
        self.what = what
        self.ident = ident


class Conflict(FloeError):
    """It exists already, or the state of things forbids it now."""

    kind = "conflict"


class Outdated(FloeError):
    """Somebody changed the thing since the caller read it, and the caller asked to be told so."""

    kind = "outdated"


class Gone(FloeError):
    """It was there and is no more."""

    kind = "gone"


class NotAcceptable(FloeError):
    """A version of the API that this cloud does not speak."""

    kind = "not_acceptable"


class TooLarge(FloeError):
    """More bytes than this cloud takes."""

    kind = "too_large"


class UnsupportedMedia(FloeError):
    """A content type that this call does not take."""

    kind = "unsupported_media"


class NoValidHost(FloeError):
    """The scheduler rejected every host.

    `message` holds counts and amounts only and may be shown to any user. For administrators `reasons` maps the
    names of hosts to reasons, those first that came nearest, and `others` sums up the hosts that it does not name.
    """

    kind = "no_valid_host"

    def __init__(self, message: str, reasons: Mapping[str, str] | None = None, others: str = "") -> None:
        super().__init__(message)
        self.reasons = dict(reasons or {})
        self.others = others


class HostFailure(FloeError):
    """A host could not do what it was told.

    `stage` is the step that failed (image, disk, ports, guest), `detail` is for administrators, `cause` is the kind
    of error on the host, and `steps` says how long each step there took. `heard` is the number of what was said to the
    host later, if it is for that.
    """

    kind = "host_failure"

    def __init__(
        self,
        message: str,
        *,
        host: str = "",
        stage: str = "",
        detail: str = "",
        cause: str = "",
        steps: Sequence[StepTime] = (),
        heard: int = 0,
    ) -> None:
        super().__init__(message)
        self.heard = heard
        self.host = host
        self.stage = stage
        self.detail = detail
        self.cause = cause
        self.steps = tuple(steps)


class NotSupported(FloeError):
    """What it is asked of has no means to do it, such as a guest without an agent; asking again does not help."""

    kind = "not_supported"


class Unavailable(FloeError):
    """A part of the cloud does not answer; nothing is known to have changed; trying again may help."""

    kind = "unavailable"


class StoreUnavailable(Unavailable):
    """It is the database that does not: nobody's fault who has something under way, which goes on when it is back."""
