"""Routers, floating IPs, external networks, subnet pools, address scopes"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and the columns by which networks and ports take part."""
    for column in (
        sa.Column("external", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("default", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("kind", sa.String(length=16), server_default="vxlan", nullable=False),
        sa.Column("physical", sa.String(length=64), nullable=True),
    ):
        op.add_column("networks", column)
    op.create_index("ix_networks_external", "networks", ["external"])
    op.create_index("uq_networks_physical", "networks", ["physical"], unique=True)
    op.create_table(
        "routers",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("up", sa.Boolean(), nullable=False),
        sa.Column("gateway_network_id", sa.String(length=64), nullable=True),
        sa.Column("snat", sa.Boolean(), nullable=False),
        sa.Column("routes", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["gateway_network_id"], ["networks.id"], name=op.f("fk_routers_gateway_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routers")),
    )
    for name in ("project_id", "gateway_network_id"):
        op.create_index(f"ix_routers_{name}", "routers", [name])
    op.execute(
        "ALTER TABLE ports ADD COLUMN router_id VARCHAR(64) CONSTRAINT fk_ports_router_id REFERENCES routers (id)"
    )
    op.create_index("ix_ports_router_id", "ports", ["router_id"])
    op.create_table(
        "floating_ips",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("network_id", sa.String(length=64), nullable=False),
        sa.Column("own_port_id", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("router_id", sa.String(length=64), nullable=True),
        sa.Column("port_id", sa.String(length=64), nullable=True),
        sa.Column("fixed_address", sa.String(length=64), nullable=True),
        sa.Column("tags", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_floating_ips_network_id")),
        sa.ForeignKeyConstraint(["own_port_id"], ["ports.id"], name=op.f("fk_floating_ips_own_port_id")),
        sa.ForeignKeyConstraint(["router_id"], ["routers.id"], name=op.f("fk_floating_ips_router_id")),
        sa.ForeignKeyConstraint(["port_id"], ["ports.id"], name=op.f("fk_floating_ips_port_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_floating_ips")),
        sa.UniqueConstraint("own_port_id", name=op.f("uq_floating_ips_own_port_id")),
        sa.UniqueConstraint(
            "port_id", "fixed_address", "network_id", name=op.f("uq_floating_ips_port_id_fixed_address_network_id")
        ),
    )
    for name in ("project_id", "network_id", "router_id"):
        op.create_index(f"ix_floating_ips_{name}", "floating_ips", [name])
    _pools()


def _common() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("tags", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
    )


def _pools() -> None:
    op.create_table(
        "address_scopes",
        *_common(),
        sa.Column("ip_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_scopes")),
    )
    op.create_table(
        "subnetpools",
        *_common(),
        sa.Column("prefixes", sa.Text(), nullable=False),
        sa.Column("default_length", sa.Integer(), nullable=False),
        sa.Column("least_length", sa.Integer(), nullable=False),
        sa.Column("most_length", sa.Integer(), nullable=False),
        sa.Column("quota", sa.Integer(), nullable=True),
        sa.Column("default", sa.Boolean(), nullable=False),
        sa.Column("scope_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["scope_id"], ["address_scopes.id"], name=op.f("fk_subnetpools_scope_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subnetpools")),
    )
    for table in ("address_scopes", "subnetpools"):
        for name in ("project_id", "shared"):
            op.create_index(f"ix_{table}_{name}", table, [name])
    op.create_index("ix_subnetpools_scope_id", "subnetpools", ["scope_id"])
    op.execute(
        "ALTER TABLE subnets ADD COLUMN pool_id VARCHAR(64) CONSTRAINT fk_subnets_pool_id REFERENCES subnetpools (id)"
    )
    op.create_index("ix_subnets_pool_id", "subnets", ["pool_id"])
    op.add_column("subnets", sa.Column("service_types", sa.Text(), server_default="[]", nullable=False))


def downgrade() -> None:
    """Remove them."""
    op.drop_index("ix_subnets_pool_id", "subnets")
    with op.batch_alter_table("subnets") as subnets:
        subnets.drop_column("service_types")
        subnets.drop_column("pool_id")
    op.drop_table("subnetpools")
    op.drop_table("address_scopes")
    op.drop_table("floating_ips")
    op.drop_index("ix_ports_router_id", "ports")
    with op.batch_alter_table("ports") as ports:
        ports.drop_column("router_id")
    op.drop_table("routers")
    for name in ("ix_networks_external", "uq_networks_physical"):
        op.drop_index(name, "networks")
    for name in ("physical", "kind", "default", "external"):
        op.drop_column("networks", name)
