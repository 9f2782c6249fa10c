"""Images that were to be made of servers, once the action that was to make them is given up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from floe.cloud import unmade_images
from floe.core.actions import CREATE_IMAGE, IMAGE, SHELVE, SUCCEEDED, UPLOAD_IMAGE, Action, Begins
from floe.core.given import BlobGiven
from floe.core.images import ACTIVE, PRIVATE, Image
from floe.store import actions, images
from floe.store.engine import Connection

IMAGE_ID = "22222222-2222-4222-8222-222222222222"


@pytest.mark.parametrize(
    ("begins", "sent_by", "stays"),
    [
        (SHELVE, "the action", False),
        (SHELVE, "nobody knows any more", False),
        (SHELVE, "its user", True),
        (CREATE_IMAGE, "the action", True),
    ],
    ids=lambda value: getattr(value, "kind", str(value)),
)
async def test_one_that_is_whole_goes_if_a_server_was_to_be_kept_in_it(
    site: Any, begins: Begins, sent_by: str, stays: bool
) -> None:
    """How its bytes came is history, which may be forgotten before the action is given up."""
    now = site.cloud.clock.now()
    image = Image(
        id=IMAGE_ID,
        name="web-shelved",
        owner="p" * 32,
        visibility=PRIVATE,
        status=ACTIVE,
        disk_format="qcow2",
        container_format="bare",
        size=1,
        virtual_size=1,
        sha512="0" * 128,
        blob_id=IMAGE_ID,
        created_at=now,
        updated_at=now,
    )
    common = {"project_id": "p" * 32, "user_id": "u" * 32, "created_at": now, "state": SUCCEEDED, "request_id": "r"}
    maker = Action(
        id="maker", kind=begins.kind, version=1, subject_id="s", input={"host": "h1", "image_id": IMAGE_ID}, **common
    )
    sent = BlobGiven(blob=IMAGE_ID, maker="maker" if sent_by == "the action" else "")
    upload = Action(
        id="upload",
        kind=UPLOAD_IMAGE.kind,
        version=1,
        subject_kind=IMAGE,
        subject_id=IMAGE_ID,
        input=msgspec.to_builtins(sent),
        **common,
    )

    def give_up(conn: Connection) -> None:
        images.insert(conn, image)
        if sent_by != "nobody knows any more":
            actions.add(conn, upload)
        unmade_images.give_up(conn, maker, now, ["removal"])

    await site.cloud.db.write(give_up)
    assert (site.cloud.db.read_now(lambda conn: images.get(conn, IMAGE_ID)) is not None) is stays
