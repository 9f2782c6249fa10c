"""The exact shape of an image and of a member on the wire (Image API v2.7)."""

from __future__ import annotations

from datetime import UTC, datetime

from floe.api.image.fields import BY_NAME, shown
from floe.api.image.schemas import image_schema, member_schema
from floe.core.images import ACTIVE, PUBLIC, Image, NewImage

NOW = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
IMAGE = Image(
    id="0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9",
    name="debian",
    status=ACTIVE,
    visibility=PUBLIC,
    owner="0" * 32,
    disk_format="qcow2",
    container_format="bare",
    min_disk=2,
    min_ram=128,
    size=18874368,
    virtual_size=1 << 30,
    checksum="9" * 32,
    sha512="a" * 128,
    protected=True,
    hidden=True,
    created_at=NOW,
    updated_at=NOW,
    tags=("x",),
    properties={"hw_disk_bus": "virtio", "size": "a property never hides a field"},
)


def test_an_active_image_reads_so() -> None:
    assert shown(IMAGE) == {
        "hw_disk_bus": "virtio",
        "id": "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9",
        "name": "debian",
        "status": "active",
        "visibility": "public",
        "protected": True,
        "os_hidden": True,
        "owner": "0" * 32,
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_disk": 2,
        "min_ram": 128,
        "size": 18874368,
        "virtual_size": 1073741824,
        "checksum": "9" * 32,
        "os_hash_algo": "sha512",
        "os_hash_value": "a" * 128,
        "tags": ["x"],
        "created_at": "2030-01-02T03:04:05Z",
        "updated_at": "2030-01-02T03:04:05Z",
        "self": "/v2/images/0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9",
        "file": "/v2/images/0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9/file",
        "schema": "/v2/schemas/image",
    }


def test_every_field_that_can_be_set_is_one_of_a_new_image() -> None:
    settable = {field.sets for field in BY_NAME.values() if field.sets}
    assert settable == set(NewImage.__struct_fields__) - {"properties"}


def test_the_schema_of_an_image_reads_so() -> None:
    properties = image_schema()["properties"]
    assert properties["disk_format"] == {
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "description": "Format of the disk",
        "enum": ["raw", "qcow2", "iso", "vmdk", "vdi", "vhd", "vhdx", "ami", "ari", "aki", None],
    }
    assert properties["checksum"]["readOnly"] is True
    assert properties["min_ram"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 2147483647,
        "description": "Memory (in MiB) required to boot image",
    }


def test_the_schema_of_a_member_reads_so() -> None:
    assert list(member_schema()["properties"]) == [
        "member_id",
        "image_id",
        "status",
        "created_at",
        "updated_at",
        "schema",
    ]
