"""One connection: uvicorn's HTTP over httptools, held to limits of bytes and time that uvicorn does not have."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sys
import termios
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from floe.api.front.exchange import Exchange
from floe.api.front.gate import Gate
from floe.api.front.limits import Limits
from floe.api.front.pace import Deadline, Pace
from floe.api.front.refusals import (
    BODY_TOO_SLOW,
    HEAD_TOO_LARGE,
    HEAD_TOO_SLOW,
    MALFORMED,
    PIPELINED,
    REPLY_NOT_READ,
    TOO_MANY_HEADERS,
    Refusal,
    Refusals,
)

_LOOKS = 4
"""How often it is looked at, within the time that a reply has, whether any of it was taken."""
_IGNORED_BYTES = 1 << 20
"""Bytes that a refused client may go on sending."""


class _Flow(FlowControl):
    """Flow control that knows when reading was last held up: by this side, so the client is not at fault."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport)
        self._loop = loop
        self.resumed_at = 0.0

    def resume_reading(self) -> None:
        if self.read_paused:
            self.resumed_at = self._loop.time()
        super().resume_reading()


class Connection(HttpToolsProtocol):
    """A client's connection. Its stages: a head is awaited, a body is awaited, a request is worked on, or none is."""

    def __init__(self, *args: Any, limits: Limits, gate: Gate, refusals: Refusals, **named: Any) -> None:
        super().__init__(*args, **named)
        self._limits = limits
        self._gate = gate
        self._refusals = refusals
        self._peer = ""
        self._flow: _Flow
        self._input = Deadline(self.loop, self._input_due)
        self._output = Deadline(self.loop, self._output_due)
        self._idle = Deadline(self.loop, self.timeout_keep_alive_handler)
        self._body_pace: Pace | None = None
        self._reply_pace: Pace | None = None
        self._unsent = 0
        self._heard = self.loop.time()
        self._fed = 0  # bytes since the parser last made something of them
        self._in_head = False
        self._in_body = False
        self._over = False  # what still comes is ignored
        self._ignored = 0
        self._fault: Refusal | None = None

    # -- the gate's view --------------------------------------------------------------------------------

    def silent(self) -> float:
        """Return for how many seconds nothing was heard of the client."""
        return self.loop.time() - self._heard

    def give_way(self) -> None:
        """End at once."""
        self._over = True
        self._break_off()
        self.transport.abort()

    # -- the transport's calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it itself
        """Begin, or refuse where there is no room."""
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport, self.loop)
        self._peer = self.client[0] if self.client else ""
        refusal = self._gate.enter(self, self._peer)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._gate.waits(self)
        self._input.set(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._gate.leave(self)
        self._input.cancel()
        self._output.cancel()
        self._idle.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, in pieces no larger than a head may be: the parser keeps what it has not made anything of."""
        self._heard = self.loop.time()
        if self._over:
            self._ignored += len(data)
            if self._ignored > _IGNORED_BYTES:
                self.transport.abort()
            return
        self._idle.clear()
        limit = self._limits.head_bytes
        while data and not self._over:
            room = limit - self._fed
            piece, data = data[:room], data[room:]
            self._fed += len(piece)
            self._feed(piece)
            if self._fed >= limit and not self._over:
                self._refuse(HEAD_TOO_LARGE)
        if not self._over:
            self._await()

    def pause_writing(self) -> None:
        """Watch the client: it takes its reply more slowly than that is made."""
        super().pause_writing()
        self._watch_reply()

    def resume_writing(self) -> None:
        """Go on with the reply."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._output.clear()
            self._reply_pace = None
            if self.cycle is not None and not self.cycle.response_complete and not self._in_body:
                self._gate.works(self)

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection; one whose last reply was not taken would otherwise never end."""
        if self.transport.get_write_buffer_size():
            self._cut(REPLY_NOT_READ)
        else:
            super().timeout_keep_alive_handler()

    # -- the parser's calls -----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, is there."""
        if len(self.headers) >= self._limits.headers:
            self._stop_parsing(TOO_MANY_HEADERS)
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Work on a request begins, or waits for those before it."""
        if len(self.pipeline) >= self._limits.pipelined:
            self._stop_parsing(PIPELINED)
        before = self.cycle
        self.cycle = self._exchange()
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        self._in_head, self._in_body, self._fed = False, True, 0
        self._body_pace = None

    def _exchange(self) -> Exchange:
        """Return the request whose head is there whole, with what will answer it."""
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["http_version"] = version
        scope["method"] = parser.get_method().decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        return Exchange(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive() and not self._gate.closing,
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        """A piece of a body is there."""
        self._fed = 0
        if self._body_pace is not None:
            self._body_pace.moved(len(body), self._heard)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is there whole."""
        self._in_body, self._fed = False, 0
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """A reply is made; it may not have been taken yet."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            if self.transport.get_write_buffer_size():
                self._watch_reply()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.cycle.response_complete:
            self._await()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: any client could fill the log with it."""

    # -- what is awaited --------------------------------------------------------------------------------

    def _feed(self, piece: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._last_request()  # answered as if it had not asked for an upgrade; what follows would be no HTTP
        except httptools.HttpParserError:
            self._refuse(self._fault or MALFORMED)

    def _stop_parsing(self, fault: Refusal) -> None:
        self._fault = fault
        raise ValueError(fault.why)

    def _await(self) -> None:
        """Set the deadline for what the client has to send next, if it has to send anything."""
        answered = self.cycle is None or self.cycle.response_complete
        if self._in_body:
            self._await_body(answered)
        elif self._in_head or self._fed:
            if not self._input.running or self._body_pace is not None:
                self._body_pace = None
                self._input.set(self._limits.head_seconds)
                if answered:
                    self._gate.waits(self)
        elif answered:
            self._input.clear()
            self._body_pace = None
            self._gate.waits(self)
            if not self._idle.running:
                self._idle.set(self._limits.idle_seconds)
        else:
            self._input.clear()
            self._body_pace = None
            self._gate.works(self)

    def _await_body(self, answered: bool) -> None:
        self._gate.waits(self, within=True)
        if answered:
            if self._body_pace is not None or not self._input.running:
                self._body_pace = None
                self._input.set(self._limits.rest_seconds)
        elif self._body_pace is None:
            limits = self._limits
            self._body_pace = Pace(
                quiet=limits.quiet_seconds, rate=limits.rate, window=limits.rate_seconds, now=self._heard
            )
            self._input.set(self._body_pace.left(self._heard))

    def _input_due(self) -> None:
        if self._over:
            self.transport.abort()
        elif self._body_pace is not None:
            self._judge_body(self._body_pace)
        elif self._in_body:
            self._cut(BODY_TOO_SLOW)  # it was answered long ago
        elif self.cycle is not None and not self.cycle.response_complete:
            self._input.set(self._limits.head_seconds)  # its turn has not come yet
        else:
            self._refuse(HEAD_TOO_SLOW)

    def _judge_body(self, pace: Pace) -> None:
        now = self.loop.time()
        flow = self._flow
        if flow.read_paused or self.cycle.waiting_for_100_continue:
            pace.restart(now)
        elif flow.resumed_at > pace.began:
            pace.restart(max(flow.resumed_at, self._heard))
        if pace.too_slow(now):
            self._refuse(BODY_TOO_SLOW)
        else:
            self._input.set(pace.left(now))

    def _watch_reply(self) -> None:
        now = self.loop.time()
        limits = self._limits
        self._unsent = self._not_taken()
        self._reply_pace = Pace(quiet=limits.reply_seconds, rate=limits.rate, window=limits.rate_seconds, now=now)
        self._output.set(limits.reply_seconds / _LOOKS)
        self._gate.waits(self, within=True)

    def _output_due(self) -> None:
        now = self.loop.time()
        if self._reply_pace is None or not self.transport.get_write_buffer_size():
            return
        unsent = self._not_taken()
        if unsent < self._unsent:
            self._reply_pace.moved(self._unsent - unsent, now)
        self._unsent = unsent
        if self._reply_pace.too_slow(now):
            self._cut(REPLY_NOT_READ)
        else:
            self._output.set(min(self._limits.reply_seconds / _LOOKS, self._reply_pace.left(now)))

    def _not_taken(self) -> int:
        """Return how much of the reply waits here and in the kernel, which tells of room only when much was taken."""
        waiting = bytearray(4)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, waiting)
        return self.transport.get_write_buffer_size() + int.from_bytes(waiting, sys.byteorder)

    # -- ends -------------------------------------------------------------------------------------------

    def _last_request(self) -> None:
        """Take no more requests; those that are there are answered, and then the connection ends."""
        self._over = True
        if self.cycle is not None:
            self.cycle.keep_alive = False
        self._in_body = False
        self._input.clear()

    def _refuse(self, refusal: Refusal) -> None:
        """Tell the client why, if that can be told, and end the connection."""
        self._refusals.note(refusal, self._peer)
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and not self._in_body:
            self._last_request()
            return
        self._over = True
        if busy and (self.cycle.response_started or self.pipeline):
            self._break_off()
            self.transport.abort()
            return
        self._break_off()
        self.transport.write(self._refusals.answer(refusal))
        self._linger()

    def _cut(self, refusal: Refusal) -> None:
        """End at once: the client would not read why."""
        self._refusals.note(refusal, self._peer)
        self.give_way()

    def _break_off(self) -> None:
        """Tell the handler of the request under way that its client is gone."""
        self.pipeline.clear()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_writing()

    def _linger(self) -> None:
        """Wait a little for the client to stop sending: closed at once, it would see a reset in place of the answer."""
        self._idle.clear()
        if not self._gate.linger(self):
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            else:
                self.transport.close()
            return
        with contextlib.suppress(OSError, RuntimeError):
            self.transport.write_eof()
        self.flow.resume_reading()
        self._input.set(self._limits.linger_seconds)
