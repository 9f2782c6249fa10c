"""Tickets for images: good for one host, one blob, one part and a time, and for whoever has their secret."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floe.bus.codec import decode, encode
from floe.core.image_tickets import MOST, ImageTicket, authorization, demand_valid, issue, read
from floe.core.messages import SpawnAll

KEY, OTHER_KEY = b"k" * 44, b"o" * 44
BLOB, OTHER = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9", "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9.2"


def ticket(host: str = "h1", blob: str = BLOB, expires: int = 1000, key: bytes = KEY) -> ImageTicket:
    (made,) = issue(key, host, [blob], expires)
    return made


def admit(header: str, *, blob: str = BLOB, now: float = 999, method: str = "GET", part: str = "") -> str:
    shown = read(header)
    demand_valid(shown, [OTHER_KEY, KEY], now, method, blob, part)
    return shown.host


def test_a_ticket_opens_what_it_was_made_for_with_any_of_the_keys_there_are() -> None:
    assert admit(authorization(ticket(), "GET")) == "h1"
    assert admit(authorization(ticket(key=OTHER_KEY), "GET")) == "h1"
    assert admit(authorization(ticket(), "GET", "bytes=5-"), part="bytes=5-") == "h1"


@pytest.mark.parametrize(
    ("header", "asked", "why"),
    [
        (authorization(ticket(), "GET"), {"blob": OTHER}, "is for blob"),
        (authorization(ticket(), "GET"), {"method": "HEAD"}, "proof is that of another request"),
        (authorization(ticket(), "GET"), {"part": "bytes=0-"}, "proof is that of another request"),
        (authorization(ticket(), "GET", "bytes=0-"), {"part": "bytes=1-"}, "proof is that of another request"),
        (authorization(ticket(), "GET"), {"now": 1000}, "expired, 0 s ago"),
        (authorization(ticket(key=b"x" * 44), "GET"), {}, "not one of this cloud's"),
        (authorization(replace(ticket(), host="h2"), "GET"), {}, "not one of this cloud's"),
        (authorization(replace(ticket(), expires=10**9), "GET"), {}, "not one of this cloud's"),
        (authorization(replace(ticket(), blob=OTHER), "GET"), {"blob": OTHER}, "not one of this cloud's"),
        (authorization(replace(ticket(), secret=""), "GET"), {}, "not one of this cloud's"),
    ],
)
def test_a_ticket_opens_nothing_else(header: str, asked: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        admit(header, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer x",
        "Floe-Image",
        "Floe-Image !",
        "Floe-Image " + "A" * (MOST + 1),
        "Floe-Image " + base64.urlsafe_b64encode(b"h\nb\n1").decode(),
        "Floe-Image " + base64.urlsafe_b64encode(b"h\nb\n1\np\n").decode(),
        "Floe-Image " + base64.urlsafe_b64encode(b"h\nb\n-1\np").decode(),
        "Floe-Image " + base64.urlsafe_b64encode("h\nb\n\u0661\np".encode()).decode(),
        "Floe-Image " + base64.urlsafe_b64encode(b"h\nb\n" + b"9" * 13 + b"\np").decode(),
        "Floe-Image " + base64.urlsafe_b64encode(b"\xff\n\n\n").decode(),
    ],
)
def test_what_is_no_ticket_is_said_to_be_none(header: str | None) -> None:
    with pytest.raises(ValueError, match=r"ticket"):
        read(header)


@given(st.text(max_size=2000))
def test_any_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"ticket"):
        admit("Floe-Image " + text)


def test_its_secret_is_in_no_log_and_in_nothing_that_is_sent_to_the_api() -> None:
    made = ticket()
    assert made.secret not in repr(made)
    sent = base64.urlsafe_b64decode(authorization(made, "GET").split()[1])
    assert made.secret.encode() not in sent
    assert repr(read(authorization(made, "GET"))).find("proof") == -1


def test_a_spawn_of_the_release_before_has_none() -> None:
    empty = SpawnAll(spawns=(), patience=1.0)
    assert decode(encode(empty)) == empty
