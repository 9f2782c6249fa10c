"""Bindings of ports, which the start that follows fills and has the database keep; addresses of 128 bits"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_ADDRESSED = ("port_addresses", "group_changes")
_ON_HOSTS = {"ports": True, "host_networks": False, "group_changes": False}
"""Tables that had less room for the name of a host than hosts have; whether they may have none."""


def upgrade() -> None:
    """Make the table, and give names of hosts the room that hosts have.

    PostgreSQL is to keep addresses of both families; SQLite does so in the columns that it has.
    """
    if op.get_bind().dialect.name == "postgresql":
        for table in _ADDRESSED:
            op.execute(f"ALTER TABLE {table} ALTER address TYPE inet USING inet '0.0.0.0' + address")
    _widen(64, 255)
    op.create_table(
        "port_bindings",
        sa.Column("port_id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("plugged", sa.Boolean(), nullable=False),
        sa.Column("vnic_type", sa.String(length=64), server_default="normal", nullable=False),
        sa.Column("vif_type", sa.String(length=64), server_default="bridge", nullable=False),
        sa.Column("vif_details", sa.Text(), server_default="{}", nullable=False),
        sa.Column("profile", sa.Text(), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["port_id"], ["ports.id"], name=op.f("fk_port_bindings_port_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("port_id", "host", name=op.f("pk_port_bindings")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_port_bindings_host", "port_bindings", ["host", "plugged", "port_id"])
    active = sa.text("status = 'ACTIVE'")
    op.create_index(
        "ix_port_bindings_active", "port_bindings", ["port_id"], unique=True,
        sqlite_where=active, postgresql_where=active,
    )  # fmt: skip


def downgrade() -> None:
    """Remove it, and what follows the rows of ports."""
    postgres = op.get_bind().dialect.name == "postgresql"
    for name in ("bind_ports_insert", "bind_ports_plug", "bind_ports_move"):
        op.execute(f"DROP FUNCTION IF EXISTS {name}() CASCADE" if postgres else f"DROP TRIGGER IF EXISTS {name}")
    op.drop_table("port_bindings")
    _widen(255, 64)
    if postgres:
        for table in _ADDRESSED:
            op.execute(f"ALTER TABLE {table} ALTER address TYPE bigint USING address - inet '0.0.0.0'")


def _widen(before: int, after: int) -> None:
    for table, nullable in _ON_HOSTS.items():
        with op.batch_alter_table(table) as altered:
            altered.alter_column(
                "host", existing_type=sa.String(before), type_=sa.String(after), existing_nullable=nullable
            )
