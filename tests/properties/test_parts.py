"""Large messages in parts: in whatever order they come, twice or not at all, what is whole is what was sent."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from floe.bus import envelope, parts
from floe.bus.envelope import OVERHEAD, Envelope
from floe.bus.parts import MOST_BYTES, MOST_PARTS, MOST_UNFINISHED, SECONDS, Parts


@given(
    bodies=st.lists(st.binary(max_size=3000), min_size=1, max_size=MOST_UNFINISHED),
    room=st.integers(1, 1000),
    seed=st.integers(0, 2**32),
    lost=st.booleans(),
)
@settings(deadline=None)
def test_what_is_whole_is_what_was_sent(bodies: list[bytes], room: int, seed: int, lost: bool) -> None:
    dice, dropped = Random(seed), list[None]()
    kept = Parts(lambda: 0.0, lambda: dropped.append(None))
    sent = [Envelope(by="us", number=number, run="r", until=3.0, body=body) for number, body in enumerate(bodies)]
    coming = [frame for each in sent for frame in envelope.frames(each, room + OVERHEAD)]
    assert all(len(frame) <= room + OVERHEAD for frame in coming)
    missing = coming.pop(dice.randrange(len(coming))) if lost else None
    coming += dice.sample(coming, len(coming) // 3)
    dice.shuffle(coming)
    whole = [found for frame in coming if (found := kept.put("h", envelope.read(frame))) is not None]
    assert all(found in sent for found in whole)
    expected = {each.number for each in sent} - ({envelope.read(missing).number} if missing else set())
    assert {found.number for found in whole} >= expected
    if missing:
        assert envelope.read(missing).number not in {found.number for found in whole}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_what_is_kept_is_bounded_whatever_comes(seed: int) -> None:
    dice, now, dropped = Random(seed), [0.0], list[None]()
    kept = Parts(lambda: now[0], lambda: dropped.append(None))
    body = bytes(MOST_BYTES // 3)
    for number in range(300):
        now[0] += dice.random()
        count = dice.choice((-1, 0, 2, 5, MOST_PARTS, MOST_PARTS + 1, 2**40))
        part = Envelope(by="x", number=number // 2, part=(dice.choice((-1, 0, 1, 4, 2**40)), count), body=body)
        kept.put(dice.choice("abcdefghijklmnop"), part)
        assert kept.bytes <= 8 * MOST_BYTES + len(body)
        assert len(kept) <= 16 * MOST_UNFINISHED
    now[0] += SECONDS + 1
    kept.put("z", Envelope(by="z", number=1, part=(0, 2), body=b"x"))
    assert (len(kept), kept.bytes) == (1, 1), "what never gets whole is forgotten in time"


def test_who_begins_too_many_takes_nothing_from_others() -> None:
    kept = Parts(lambda: 0.0, lambda: None)
    kept.put("modest", Envelope(by="m", number=1, part=(0, 2), body=b"one "))
    for number in range(1000):
        kept.put("greedy", Envelope(by="g", number=number, part=(0, 2), body=bytes(100_000)))
    whole = kept.put("modest", Envelope(by="m", number=1, part=(1, 2), body=b"two"))
    assert whole is not None
    assert whole.body == b"one two"


def test_a_part_without_a_body_is_nothing_to_keep() -> None:
    kept = Parts(lambda: 0.0, lambda: None)
    for index in range(100):
        assert kept.put("h", Envelope(by="x", number=1, part=(index, MOST_PARTS))) is None
    assert len(kept) == 0


def test_the_bounds_fit_each_other() -> None:
    """A message of the most bytes fits into the most parts, also with the smallest messages a server takes sensibly."""
    assert MOST_BYTES / MOST_PARTS <= 64 * 1024 - OVERHEAD
    assert parts.SECONDS > 5
