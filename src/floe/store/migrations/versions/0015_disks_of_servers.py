"""Disks of servers as rows; subnets' texts wide enough for IPv6"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_PREFIXES = {"virtio": "vd", "ide": "hd"}
_PORTION = 1000


def upgrade() -> None:
    """Give each server that is there its disks, which its row, its flavor and its image tell."""
    with op.batch_alter_table("subnets") as subnets:
        subnets.alter_column("cidr", existing_type=sa.String(32), type_=sa.String(64), existing_nullable=False)
        subnets.alter_column("gateway", existing_type=sa.String(32), type_=sa.String(64), existing_nullable=True)
    made = op.create_table(
        "server_disks",
        sa.Column("server_id", sa.String(64), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("device", sa.String(32), nullable=False),
        sa.Column("bus", sa.String(16), nullable=False),
        sa.Column("boot_index", sa.Integer(), nullable=True),
        sa.Column("size_mib", sa.BigInteger(), nullable=True),
        sa.Column("image_id", sa.String(64), nullable=True),
        sa.Column("filesystem", sa.String(16), nullable=True),
        sa.Column("label", sa.String(64), nullable=True),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.id"], name=op.f("fk_server_disks_server_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("server_id", "role", name=op.f("pk_server_disks")),
        sqlite_with_rowid=False,
    )
    conn = op.get_bind()
    query = sa.text(
        "SELECT number, id, flavor, image_id, image_properties, block_devices, config_drive FROM servers"
        " WHERE deleted_at IS NULL AND number > :after ORDER BY number LIMIT :most"
    )
    after = -1
    while found := conn.execute(query, {"after": after, "most": _PORTION}).all():
        after = found[-1].number
        conn.execute(made.insert(), [disk for server in found for disk in _disks(server)])


def downgrade() -> None:
    """Forget them; the rows of servers still say it."""
    with op.batch_alter_table("subnets") as subnets:
        subnets.alter_column("cidr", existing_type=sa.String(64), type_=sa.String(32), existing_nullable=False)
        subnets.alter_column("gateway", existing_type=sa.String(64), type_=sa.String(32), existing_nullable=True)
    op.drop_table("server_disks")


def _disks(server: Any) -> list[dict[str, Any]]:
    flavor = json.loads(server.flavor or "{}")
    properties = json.loads(server.image_properties or "{}")
    asked = {entry["kind"]: entry for entry in json.loads(server.block_devices or "[]")}
    ephemeral = asked.get("ephemeral", {}).get("gib", flavor.get("ephemeral_gib", 0))
    swap = asked.get("swap", {}).get("mib", flavor.get("swap_mib", 0))
    bus = properties.get("hw_disk_bus") or "virtio"
    root = {"type": "overlay", "role": "root", "boot_index": 0, "image_id": server.image_id or ""}
    local: list[dict[str, Any]] = [{**root, "size_mib": flavor.get("root_gib", 0) * 1024}]
    if ephemeral:
        blank = {"type": "blank", "role": "ephemeral0", "filesystem": "ext4", "label": "ephemeral0"}
        local.append({**blank, "size_mib": ephemeral * 1024})
    if swap:
        local.append({"type": "blank", "role": "swap", "filesystem": "swap", "label": "", "size_mib": swap})
    for letter, disk in zip("abc", local, strict=False):
        disk |= {"device": _PREFIXES.get(bus, "sd") + letter, "bus": bus}
    if server.config_drive:
        ide = (properties.get("hw_machine_type") or "pc") == "pc"
        place = {"device": "hdd", "bus": "ide"} if ide else {"device": "sdd", "bus": "sata"}
        local.append({"type": "config-drive", "role": "config", **place})
    empty = dict.fromkeys(("boot_index", "size_mib", "image_id", "filesystem", "label"))
    return [{**empty, **disk, "server_id": server.id, "position": index} for index, disk in enumerate(local)]
