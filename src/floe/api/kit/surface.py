"""One OpenStack API: its routes, policies, versions and envelope, and how a request goes through them."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.faults import Envelope, status_of
from floe.api.kit.policy import Policies, enforce
from floe.api.kit.request import ClientGone, Request
from floe.api.kit.routing import Match, RouteTable
from floe.cloud.cloud import Cloud
from floe.core.callers import CALLER
from floe.core.context import Context
from floe.core.errors import Busy, FloeError, Invalid, NotAcceptable, NotFound, Unauthenticated, Unavailable
from floe.core.versions import Version, parse_version, version_text

log = logging.getLogger(__name__)

_KEPT = 256
"""Ways of asking for a version that are kept as they were read."""
_SHORT = 64
"""Characters of such a way at most: what clients may make this process keep is little."""

_AGAIN = 5.0
"""Seconds after which a part of the cloud that does not answer may do so: a database starts again in fewer."""
Authenticate = Callable[[Cloud, str, str], Awaitable[Context]]
"""(cloud, token, request id) -> who asks. Raises Unauthenticated."""


@dataclass(frozen=True, slots=True)
class Microversions:
    """The versions a surface speaks, and the headers that ask for one."""

    service: str
    """The name in `OpenStack-API-Version: <service> <version>`."""
    lowest: Version
    highest: Version
    legacy_header: str | None = None
    before: tuple[str, str] | None = None
    """A path from before there were microversions and the one that it stands for; it speaks the lowest alone."""
    _kept: Callable[[str | None, str | None], Version] = field(init=False, repr=False, compare=False)
    headers: Callable[[Version], Mapping[str, str]] = field(init=False, repr=False, compare=False)
    """Gives the reply headers that name the version used."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_kept", lru_cache(_KEPT)(self._read))
        object.__setattr__(self, "headers", lru_cache(_KEPT)(self._headers))

    def modern(self, path: str) -> str | None:
        """Return what a path from before microversions stands for, None for any other path."""
        if self.before is None or not (path + "/").startswith(self.before[0] + "/"):
            return None
        return self.before[1] + path.removeprefix(self.before[0])

    def asked(self, header: Callable[[str], str | None]) -> Version:
        """Return the version a request asks for, the lowest when it asks for none.

        Raises Invalid for what is no version, NotAcceptable for one out of range.
        """
        said = header("openstack-api-version")
        legacy = header(self.legacy_header) if self.legacy_header else None
        short = len(said or "") + len(legacy or "") <= _SHORT
        return (self._kept if short else self._read)(said, legacy)

    def _read(self, said: str | None, legacy: str | None) -> Version:
        text = self._from_header(said)
        if text is None:
            text = legacy
        if text is None:
            return self.lowest
        if text.strip().lower() == "latest":
            return self.highest
        version = parse_version(text)
        if version is None:
            raise Invalid(f"API version {text!r} is not of the form MAJOR.MINOR or 'latest'.")
        if not self.lowest <= version <= self.highest:
            bounds = f"{version_text(self.lowest)} to {version_text(self.highest)}"
            raise NotAcceptable(f"Version {text} is not supported by the API. Supported are {bounds}.")
        return version

    def _headers(self, version: Version) -> dict[str, str]:
        text = version_text(version)
        headers = {"openstack-api-version": f"{self.service} {text}", "vary": "OpenStack-API-Version"}
        if self.legacy_header:
            headers[self.legacy_header] = text
            headers["vary"] += f", {self.legacy_header}"
        return headers

    def _from_header(self, value: str | None) -> str | None:
        for part in (value or "").split(","):
            words = part.split()
            if len(words) == 2 and words[0].lower() == self.service:
                return words[1]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """An API as a table. `routes` have full paths below the surface's prefix (`/v2.1/servers`)."""

    name: str
    """The first path segment: identity, compute, image, network, placement."""
    routes: Sequence[Route]
    policies: Policies
    envelope: Envelope
    microversions: Microversions | None = None
    request_id_headers: tuple[str, ...] = ("x-openstack-request-id",)
    challenge: bool = True
    trailing_slash: bool = False
    """Whether a path may end with a slash."""
    suffix: str = ""
    """What any path may end with besides: `.json`, where clients may ask for a format."""
    table: RouteTable = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "table", RouteTable(self.routes, trailing_slash=self.trailing_slash, suffix=self.suffix)
        )

    async def answer(
        self,
        request: Request,
        path: str,
        cloud: Cloud,
        authenticate: Authenticate,
        request_id: str,
        prefix: str,
    ) -> Reply:
        """Answer one request, errors included; `path` is what follows the surface's prefix."""
        headers: Mapping[str, str] = {}
        try:
            version: Version = (0, 0)
            modern = self.microversions.modern(path) if self.microversions else None
            if self.microversions and modern is not None:
                path, version = modern, self.microversions.lowest
            elif self.microversions:
                version = self.microversions.asked(request.header)
                headers = self.microversions.headers(version)
            match = self.table.match(path)
            if match is None:
                raise NotFound("resource", path, message=f"The {self.name} API has no resource {path!r}.")
            if request.method not in match.routes and not (request.method == "HEAD" and "GET" in match.routes):
                reply = self._refuse_method(request.method, match, request_id)
            else:
                call = await self._call(request, match, cloud, authenticate, request_id, version, prefix)
                reply = await call.route.handler(call)
                await reply.encode(cloud.turns)
        except ClientGone:
            raise
        except Exception as error:
            reply = self.fault(error, request_id)
        for name in self.request_id_headers:
            reply.headers[name] = request_id
        for name, value in headers.items():
            reply.headers.setdefault(name, value)
        return reply

    def fault(self, error: Exception, request_id: str) -> Reply:
        """Turn an error into this surface's envelope; what was not raised on purpose is logged and not shown."""
        status = status_of(error)
        if isinstance(error, FloeError):
            reason, message = error.reason, error.message
        else:
            log.exception("%s: unexpected %s", request_id, type(error).__name__, exc_info=error)
            reason = "internal"
            message = f"Unexpected error; it is in the server's log under request id {request_id}."
        headers = {}
        if status == 401 and self.challenge:
            headers["www-authenticate"] = "Keystone uri=/identity"
        if isinstance(error, Busy | Unavailable):
            headers["retry-after"] = str(math.ceil(error.seconds if isinstance(error, Busy) else _AGAIN))
        return Reply(status, self.envelope(status, reason, message, request_id), headers)

    def _refuse_method(self, method: str, match: Match, request_id: str) -> Reply:
        allowed = ", ".join(sorted(match.routes))
        message = f"Method {method} is not allowed here; {allowed} are."
        return Reply(405, self.envelope(405, "no_such_method", message, request_id), {"allow": allowed})

    async def _call(
        self,
        request: Request,
        match: Match,
        cloud: Cloud,
        authenticate: Authenticate,
        request_id: str,
        version: Version,
        prefix: str,
    ) -> Call:
        method = "GET" if request.method == "HEAD" and "HEAD" not in match.routes else request.method
        candidates = match.routes[method]
        token = request.header("x-auth-token")
        if token:
            context = await authenticate(cloud, token, request_id)
            CALLER.set((context.project_id or "", context.user_id or ""))
        elif any(self.policies[route.policy](Context(request_id=request_id)) for route in candidates):
            context = Context(request_id=request_id)
        else:
            raise Unauthenticated("The request you have made requires authentication: send a token in X-Auth-Token.")
        call = Call(request, candidates[0], cloud, context, version, match.params, prefix)
        if len(candidates) > 1 or candidates[0].action is not None or not _fits(candidates[0], version):
            call.route = await self._choose(call, candidates)
        enforce(self.policies, call.route.policy, context)
        _ = call.query  # what is wrong with it is said before the handler does anything
        return call

    async def _choose(self, call: Call, candidates: list[Route]) -> Route:
        fitting = [route for route in candidates if _fits(route, call.version)]
        if not fitting:
            raise NotFound("resource", message=f"This resource is there {_when(candidates, call.version)}.")
        if fitting[0].action is None:
            return fitting[0]
        body = await call.json()
        if not isinstance(body, dict) or len(body) != 1:
            raise Invalid("The body of an action is an object with exactly one key, the action's name.")
        (name,) = body
        for route in fitting:
            if route.action == name:
                return route
        if elsewhere := [route for route in candidates if route.action == name]:
            raise NotFound("action", name, message=f"Action {name!r} is there {_when(elsewhere, call.version)}.")
        there = ", ".join(sorted({str(route.action) for route in fitting}))
        raise Invalid(f"There is no action {name[:80]!r} here; there are {there}.")


def _fits(route: Route, version: Version) -> bool:
    return route.since <= version <= route.until


def _when(routes: Iterable[Route], asked: Version) -> str:
    spans = [
        f"{f'from {version_text(route.since)} ' if route.since > (0, 0) else ''}"
        f"{f'to {version_text(route.until)}' if route.until < (9999, 9999) else 'on'}"
        for route in routes
    ]
    return f"at microversions {', and '.join(dict.fromkeys(spans))}; asked for was {version_text(asked)}"
