"""What the bus carries, as it was recorded: the release before said this, and is to understand what is said now.

A field may be added, with a default; a kind may be added. Nothing that is here may change or go.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from floe.bus import envelope
from floe.bus.answering import Answering, result_of
from floe.bus.codec import decode, encode
from floe.bus.envelope import Envelope
from floe.core.errors import HostFailure
from floe.core.messages import Command, Done, ListGuests, Result

from .samples import KINDS, sample

FOLDER = Path(__file__).parent
RECORDED: dict[str, bytes] = {
    f"{path.stem.rpartition('_')[2]} {name}": base64.b64decode(text)
    for path in sorted(FOLDER.glob("messages_of_version_*.json"))
    for name, text in json.loads(path.read_text()).items()
}
"""By version of the release that said it, and kind: `scripts/lib/record_release.py` records them."""
ENVELOPE = bytes.fromhex(
    "88a17601a26279a861736b65722d3166a16e07a372756ea472756e31a5636c6f636bcb3ff8000000000000"
    "a5756e74696ccb4029000000000000a4706172749200" + "02a4626f6479c403616263"
)


def raw(data: bytes) -> tuple[str, Any]:
    name, fields = msgspec.msgpack.decode(data)
    return name, fields


def lacking(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Give what is not any more as it was, and where; what is new is no matter."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key, value in before.items():
            if key in now:
                yield from lacking(value, now[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}"
    elif isinstance(before, list) and isinstance(now, list) and len(before) <= len(now):
        for index, (one, other) in enumerate(zip(before, now, strict=False)):  # a sample has one of each kind
            yield from lacking(one, other, f"{where}[{index}]")
    elif before != now:
        yield where


def with_unknown(value: Any) -> Any:
    """Return it as a later release might say it: with something more in each of its tables."""
    if isinstance(value, dict) and "the key" in value:
        return value  # of somebody's own keys
    if isinstance(value, dict):
        more = {key: with_unknown(inner) for key, inner in value.items()}
        return more | {"a field of the next release": {"with": ["anything", 1]}}
    return [with_unknown(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_what_the_release_before_says_is_understood(name: str) -> None:
    understood = decode(RECORDED[name])
    assert type(understood) is KINDS[name.split()[1]]
    assert list(lacking(raw(RECORDED[name])[1], raw(encode(understood))[1])) == []


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_what_is_said_now_has_all_that_the_release_before_knows(name: str) -> None:
    assert list(lacking(raw(RECORDED[name])[1], raw(encode(sample(KINDS[name.split()[1]])))[1])) == []


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_what_it_says_is_understood_with_fields_that_nobody_knows(name: str) -> None:
    kind, said = raw(RECORDED[name])
    assert decode(msgspec.msgpack.encode((kind, with_unknown(said)))) == decode(RECORDED[name])


@pytest.mark.parametrize("name", sorted(KINDS))
def test_what_a_later_release_says_is_understood_as_far_as_it_is_known(name: str) -> None:
    said = with_unknown(raw(encode(sample(KINDS[name])))[1])
    assert decode(msgspec.msgpack.encode((name, said))) == sample(KINDS[name])


def test_every_kind_is_recorded() -> None:
    found = {name.split()[1] for name in RECORDED}
    assert found == set(KINDS), "a new kind is recorded with its release, an old one stays: see record_release.py"


def test_the_envelope_is_what_it_was() -> None:
    known = Envelope(version=1, by="asker-1f", number=7, run="run1", clock=1.5, until=12.5, part=(0, 2), body=b"abc")
    assert envelope.read(ENVELOPE) == known
    later = msgspec.msgpack.encode({**msgspec.msgpack.decode(ENVELOPE), "v": 9, "of the next release": [1, {}]})
    assert envelope.read(later) == msgspec.structs.replace(known, version=9)
    (frame,) = envelope.frames(known, 10_000)
    assert list(lacking(msgspec.msgpack.decode(ENVELOPE), msgspec.msgpack.decode(frame))) == []


async def nobody(command: Command) -> Result:
    raise AssertionError("it is not to be carried out")


async def known(command: Command) -> Result:
    return Done()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (msgspec.msgpack.encode(("Teleport", {"server_id": "s"})), "'Teleport' is no kind of message"),
        (msgspec.msgpack.encode(("Spawn", {"action_id": "a"})), "not a Spawn: Object missing required field"),
        (encode(Done()), "Done is no command"),
        (b"\xc1", "not a message"),
    ],
)
async def test_a_command_that_is_not_known_is_answered_so(data: bytes, why: str) -> None:
    answer = await Answering("h1", nobody).start(data)
    with pytest.raises(HostFailure, match=f"does not know how: .*{why}") as caught:
        result_of("h1", answer)
    assert (caught.value.cause, caught.value.host) == ("not_acceptable", "h1")


@pytest.mark.parametrize("data", [msgspec.msgpack.encode(("Teleported", {})), b"", encode(ListGuests())])
def test_an_answer_that_is_not_known_is_a_failure_of_the_host(data: bytes) -> None:
    with pytest.raises(HostFailure, match="answered"):
        result_of("h1", data)


async def test_a_command_with_fields_of_the_next_release_is_carried_out() -> None:
    data = msgspec.msgpack.encode(("ListGuests", {"of the next release": True}))
    assert result_of("h1", await Answering("h1", known).start(data)) == Done()
