"""Why a connection is refused or ended: what its client is told, what is counted, and what the log says."""

from __future__ import annotations

import logging
from http import HTTPStatus

import msgspec
from msgspec.structs import asdict

from floe.api.front.limits import Limits
from floe.core.counters import Count, Counters
from floe.logs import Rarely

log = logging.getLogger(__name__)

REFUSED = Count("floe_refused_connections", "Connections refused, or ended before their client was done", ("why",))


class Refusal(msgspec.Struct, frozen=True):
    """One reason, `why` in a word for `/metrics`; the text may name a limit."""

    why: str
    status: int
    text: str


HEAD_TOO_LARGE = Refusal("head_bytes", 431, "The request line and headers are larger than {head_bytes} bytes.")
TOO_MANY_HEADERS = Refusal("headers", 431, "The request has more than {headers} headers.")
HEAD_TOO_SLOW = Refusal("head_slow", 408, "The request's headers were not there within {head_seconds:g} seconds.")
BODY_TOO_SLOW = Refusal(
    "body_slow",
    408,
    "The body comes too slowly: {quiet_seconds:g} seconds without a byte, or less than {rate} bytes a second.",
)
REPLY_NOT_READ = Refusal("reply_slow", 408, "The reply was not taken for {reply_seconds:g} seconds.")
MALFORMED = Refusal("malformed", 400, "What was sent is no HTTP request.")
PIPELINED = Refusal("pipelined", 503, "More than {pipelined} requests were sent ahead of their answers.")
PEER_FULL = Refusal(
    "peer_full",
    503,
    "There are {per_peer} connections from this address, all of them busy; use fewer, or try again later. "
    "An operator may raise connections_per_peer, or name a proxy in trusted_proxies.",
)
FULL = Refusal("full", 503, "There are {connections} connections, all of them busy; try again later.")
SHED = Refusal("shed", 503, "The connection was idle, and another needed its place.")


class Refusals:
    """Counts what is refused and says it once; makes the bytes of the answers."""

    def __init__(self, limits: Limits, counters: Counters) -> None:
        self._numbers = asdict(limits)
        self._counters = counters
        self._log = Rarely(log)
        self._answers: dict[str, bytes] = {}

    def note(self, refusal: Refusal, peer: str) -> None:
        """Count a refusal, and say it if none like it was said of late."""
        self._counters.add(REFUSED, refusal.why)
        self._log.warning(refusal.why, "a connection from %s: %s", peer or "nowhere", self._text(refusal))

    def answer(self, refusal: Refusal) -> bytes:
        """Return a whole reply, after which the connection ends."""
        found = self._answers.get(refusal.why)
        if found is None:
            title = HTTPStatus(refusal.status).phrase
            body = msgspec.json.encode(
                {"error": {"code": refusal.status, "title": title, "message": self._text(refusal)}}
            )
            later = "retry-after: 5\r\n" if refusal.status == 503 else ""
            head = (
                f"HTTP/1.1 {refusal.status} {title}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n{later}connection: close\r\n\r\n"
            )
            found = self._answers[refusal.why] = head.encode() + body
        return found

    def _text(self, refusal: Refusal) -> str:
        return refusal.text.format(**self._numbers)
