"""A request and its reply: uvicorn's, but for the way that a reply goes out, which is in as few writes as it can."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


class Exchange(RequestResponseCycle):
    """One request of a connection. The head of its reply waits for the first of the body, and both are one write.

    So the client is woken once; and while nothing has gone out, a failure can still be told instead.
    """

    _head: bytes | None = None
    _rest = 0
    """Bytes of the body that are announced and not there yet."""

    async def send(self, message: Any) -> None:
        """Take a message of ASGI: the head, or a piece of the body. Raises RuntimeError for what is no HTTP."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and not self.response_started:
            self._head = self._rendered(message["status"], message["headers"])
        elif message["type"] == "http.response.body" and self._head is not None and not self.response_complete:
            self._write(message.get("body", b""), last=not message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']!r} has no place here: {self._stage()}.")

    def _rendered(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the head; what the names and values hold is `Reply.fields`' business."""
        named = dict(headers)
        written = [STATUS_LINE[status], *[b"%b: %b\r\n" % line for line in (*self.default_headers, *headers)]]
        if named.get(b"connection") == b"close":
            self.keep_alive = False
        elif not self.keep_alive:
            written.append(b"connection: close\r\n")
        length = int(named[b"content-length"]) if b"content-length" in named else None
        bodiless = self.scope["method"] == "HEAD" or status in (204, 304)
        self.chunked_encoding = length is None and not bodiless
        self._rest = 0 if bodiless or length is None else length
        if self.chunked_encoding:
            written.append(b"transfer-encoding: chunked\r\n")
        written.append(b"\r\n")
        return b"".join(written)

    def _write(self, body: bytes, *, last: bool) -> None:
        """Write a piece of the body, after the head if that waits still."""
        assert self._head is not None
        pieces: list[bytes] = []
        if not self.response_started:
            self.response_started, self.waiting_for_100_continue = True, False
            pieces.append(self._head)
        if self.scope["method"] == "HEAD":
            pass
        elif self.chunked_encoding:
            pieces += (b"%x\r\n" % len(body), body, b"\r\n") if body else ()
            pieces += (b"0\r\n\r\n",) if last else ()
        else:
            self._rest -= len(body)
            if self._rest < 0 or (last and self._rest):
                raise RuntimeError(f"The body is not as long as its Content-Length: {-self._rest} bytes more.")
            pieces.append(body)
        if pieces:
            self.transport.writelines(pieces)
        if last:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _stage(self) -> str:
        if self.response_complete:
            return "the reply is there whole"
        return "its head is awaited" if self._head is None else "its body is awaited"
