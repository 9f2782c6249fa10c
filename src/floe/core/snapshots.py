"""Images of servers' root disks: what is said of them, and what they have of the image that the server was made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from floe.core.images import PRIVATE, SHARED, Image
from floe.core.servers import Server

_NOT_INHERITED = re.compile(
    r"(img_)?(mappings|block_device_mapping)"
    r"|cache_in_nova|bittorrent|cinder_encryption_key_(id|deletion_policy)"
    r"|img_signature(_hash_method|_key_type|_certificate_uuid)?"
    r"|signature_verified|os_glance.*"
)
"""Properties of an image that its snapshots have not: they are about those very bytes, or the store's own."""
SNAPSHOT, BACKUP = "snapshot", "backup"


def image_of(
    server: Server,
    base: Image | None,
    *,
    ident: str,
    name: str,
    backup: str,
    user_id: str,
    project_id: str | None,
    metadata: Mapping[str, str],
    now: datetime,
) -> Image:
    """Return the image that a server's root disk becomes; `base` is the one it was made of, while that is there.

    It belongs to the project that asks; where the server is another's, that one is a member of it. A backup says of
    which kind it is.
    """
    inherited = {key: value for key, value in server.image_properties.items() if not _NOT_INHERITED.fullmatch(key)}
    own = project_id == server.project_id
    properties = {
        **inherited,
        "instance_uuid": server.id,
        "user_id": user_id,
        "owner_id": server.project_id,
        "image_type": BACKUP if backup else SNAPSHOT,
        "image_location": SNAPSHOT,
        "image_state": "available",
        **({} if own else {"instance_owner": server.project_id}),
        **metadata,
        **({"backup_type": backup} if backup else {}),
    }
    if server.image_id is not None:
        properties["base_image_ref"] = server.image_id
    return Image(
        id=ident,
        name=name,
        owner=project_id,
        created_at=now,
        updated_at=now,
        visibility=PRIVATE if own else SHARED,
        disk_format="qcow2",
        container_format="bare",
        min_disk=max(server.flavor.root_gib, 0 if base is None else base.min_disk),
        min_ram=0 if base is None else base.min_ram,
        properties=properties,
    )
