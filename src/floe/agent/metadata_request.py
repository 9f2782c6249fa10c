"""What a guest asks the metadata service for: the head of an HTTP request, read with care."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from floe.core.errors import Invalid, TooLarge


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A method, a path without its query, and what the head says of the body."""

    method: str
    path: str
    lengths: tuple[str, ...] = ()
    """What it says of how long the body is, each time."""
    coded: bool = False
    """Whether the body comes in another form than as it is, such as in chunks."""
    expects: str = ""
    """What is expected before the body is sent."""

    @property
    def waits(self) -> bool:
        """Whether the body is sent only when it is asked for."""
        return self.expects == "100-continue"

    def body_bytes(self, most: int) -> int | None:
        """Return how long the body is, None if that is not said. Raises Invalid, and TooLarge above `most`."""
        if self.coded or not self.lengths:
            if self.lengths:
                raise Invalid("the length of the body is said in two ways")
            return None
        (text, *more) = self.lengths
        if more or not (text.isascii() and text.isdecimal()):
            raise Invalid("Content-Length must be one number")
        digits = text.lstrip("0") or "0"
        if len(digits) > len(str(most)) or int(digits) > most:
            raise TooLarge(f"a body of at most {most} bytes is taken")
        return int(digits)


def parse(head: bytes) -> Request:
    """Read the head of a request. Raises Invalid for what is none."""
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[1].startswith(b"/"):
        raise Invalid("this is not an HTTP/1.1 request")
    said: dict[bytes, list[str]] = {}
    for field in fields:
        name, _, value = field.partition(b":")
        said.setdefault(name.lower(), []).append(value.strip(b" \t").decode("latin-1"))
    return Request(
        method=words[0].decode("latin-1"),
        path=unquote(words[1].partition(b"?")[0].decode("latin-1"), errors="replace"),
        lengths=tuple(said.get(b"content-length", ())),
        coded=b"transfer-encoding" in said,
        expects="" if words[2] == b"HTTP/1.0" else ",".join(said.get(b"expect", ())).lower(),
    )
