"""Ids of requests: random UUIDs, as every other of the field's clouds gives them."""

from __future__ import annotations

import uuid
from itertools import islice

from floe.api.app import _request_ids


def test_ids_of_requests_are_random_uuids_and_no_two_alike() -> None:
    found = list(islice(_request_ids(), 1000))
    assert len(set(found)) == 1000
    for text in found:
        assert text == f"req-{uuid.UUID(text.removeprefix('req-'), version=4)}"
    bits = [bin(uuid.UUID(text[4:]).int).count("1") for text in found]
    assert 60 < sum(bits) / len(bits) < 67, "of 122 dice one half, and 2 bits that say what it is"
