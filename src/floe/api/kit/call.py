"""One request as a handler sees it, its reply, and the route that joins them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from floe.api.kit.encoding import More, encoded
from floe.api.kit.peer import peer_of
from floe.api.kit.query import Pairs, Query, pairs_of
from floe.cloud.cloud import Cloud
from floe.cloud.turns import Turns
from floe.core.context import Context
from floe.core.errors import Invalid, TooLarge
from floe.core.versions import Version

if TYPE_CHECKING:
    from floe.api.kit.request import Request

MAX_BODY = 1 << 18
"""Bytes of a JSON body at most (Nova takes 112 KiB); more is refused with 413. Uploads have a limit of their own."""

MAX_ANONYMOUS = 1 << 16
"""The same of a request without a token: what anybody may make this process keep and read is little."""

_ENCODER = msgspec.json.Encoder()
_IN_PATH = "/:@!$&'()*+,;=~"
"""What stands for itself in a path (RFC 3986), besides letters, digits, `-`, `.` and `_`."""
_PLAIN = re.compile(r"[A-Za-z0-9/._-]*").fullmatch
"""What most paths are; `quote` takes ten times as long to find that there is nothing to do."""
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(slots=True)
class Call:
    """A request that has been routed, authenticated and allowed."""

    request: Request
    route: Route
    cloud: Cloud
    context: Context
    version: Version
    params: Mapping[str, str]
    prefix: str = ""
    """What stands before the surface's own paths in links, as the client sees it: `http://host:port/compute`."""
    _query: Pairs | None = None
    _raw: bytes | None = None

    @property
    def query(self) -> Pairs:
        """The query string's pairs in order, blanks kept: those that the route's table knows. Raises Invalid."""
        if self._query is None:
            pairs = pairs_of(self.request.scope["query_string"])
            table = self.route.query
            self._query = pairs if table is None else table.known(pairs, self.version)
        return self._query

    def one(self, name: str, default: str | None = None) -> str | None:
        """Return the last value of a query parameter."""
        value = default
        for key, text in self.query:
            if key == name:
                value = text
        return value

    def many(self, name: str) -> list[str]:
        """Return all values of a query parameter."""
        return [text for key, text in self.query if key == name]

    def header(self, name: str) -> str | None:
        """Return a request header."""
        return self.request.header(name)

    @property
    def peer(self) -> str:
        """Where the request comes from, as it is counted against: see `peer_of`."""
        return peer_of(self.request.scope, self.cloud.settings.trusted_proxies)

    def url(self, path: str) -> str:
        """Return an absolute link to a path of this surface, in which names stand as they are: here they are quoted."""
        return self.prefix + quoted(path)

    async def raw(self) -> bytes:
        """Return the whole body. Raises TooLarge past its limit, counted as the bytes arrive."""
        if self._raw is None:
            most = MAX_BODY if self.context.user_id else MAX_ANONYMOUS
            parts, size = [], 0
            async for chunk in self.request.stream():
                size += len(chunk)
                if size > most:
                    raise TooLarge(f"The request body is larger than {most} bytes.")
                parts.append(chunk)
            self._raw = b"".join(parts)
        return self._raw

    async def json(self) -> Any:
        """Return the body as plain JSON values. Raises Invalid."""
        return plain_json(await self.raw())


def quoted(path: str) -> str:
    """Return a path, or a part of one, as it stands in a link."""
    return path if _PLAIN(path) else quote(path, safe=_IN_PATH)


def plain_json(data: bytes) -> Any:
    """Decode JSON to plain values. Raises Invalid with the place of the mistake."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The request body is not valid JSON: {error}.") from error


@dataclass(slots=True)
class Reply:
    """What goes back: `body` is encoded as JSON unless it is bytes already; `stream` sends as it comes.

    A long list stands in the body as a generator of its things (see `encoding`); what comes after it, its links, is
    `more`, which is told how many things there are: fewer than there would be, when they are large.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    media_type: str = "application/json"
    stream: AsyncIterator[bytes] | None = None
    more: More | None = None

    async def encode(self, turns: Turns) -> None:
        """Make the body bytes, if it is none yet. Raises TooLarge."""
        if self.body is not None and not isinstance(self.body, bytes):
            self.body = await encoded(self.body, self.more, turns)

    def content(self) -> bytes:
        """Return the body's bytes."""
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        return _ENCODER.encode(self.body)

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return the headers as they go on the wire, where nothing but printable ASCII is a header's value."""
        values = self.headers.values()
        if _plain("".join(values)):
            return [(name.encode(), value.encode()) for name, value in self.headers.items()]
        return [(name.encode("ascii"), _printable(value)) for name, value in self.headers.items()]


def _plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _printable(value: str) -> bytes:
    """Percent-encode, as UTF-8, what could end a header or be read in another way than it was meant."""
    if _plain(value):
        return value.encode("ascii")
    return _NOT_PRINTABLE.sub(lambda found: quote(found[0].encode("utf-8", "replace")), value).encode("ascii")


Handler = Callable[[Call], Awaitable[Reply]]


class Route(msgspec.Struct, frozen=True):
    """One call of a surface: `GET /servers/{server_id}`.

    `policy` names a rule of the surface's policy table. `since` and `until` bound the microversions that know the
    call; outside them it is a 404. `action`, for POST .../action, is the body's one key. `query` is the table of the
    parameters, checked before the handler is called; without one the handler sees them all.
    """

    method: str
    path: str
    handler: Handler
    policy: str
    since: Version = (0, 0)
    until: Version = (9999, 9999)
    action: str | None = None
    query: Query | None = None
