"""Indexes by which pages of lists are read in their order, and filters find what they ask for"""

from __future__ import annotations

from alembic import op

revision = "0054"
down_revision = "0052"
branch_labels = None
depends_on = None

_GONE = {
    "ix_address_groups_project_id": ("address_groups", "project_id"),
    "ix_floating_ips_network_id": ("floating_ips", "network_id"),
    "ix_floating_ips_project_id": ("floating_ips", "project_id"),
    "ix_floating_ips_router_id": ("floating_ips", "router_id"),
    "ix_routers_gateway_network_id": ("routers", "gateway_network_id"),
    "ix_routers_project_id": ("routers", "project_id"),
}
"""What others begin with the column of."""
_MADE = {
    "ix_address_groups_name_owned": ("address_groups", "name", "project_id", "id"),
    "ix_address_groups_project_id_id": ("address_groups", "project_id", "id"),
    "ix_floating_ips_address_owned": ("floating_ips", "address", "project_id", "id"),
    "ix_floating_ips_fixed_address_owned": ("floating_ips", "fixed_address", "project_id", "id"),
    "ix_floating_ips_network_id_owned": ("floating_ips", "network_id", "project_id", "id"),
    "ix_floating_ips_port_id_owned": ("floating_ips", "port_id", "project_id", "id"),
    "ix_floating_ips_project_id_id": ("floating_ips", "project_id", "id"),
    "ix_floating_ips_router_id_owned": ("floating_ips", "router_id", "project_id", "id"),
    "ix_ports_mac": ("ports", "mac"),
    "ix_routers_gateway_owned": ("routers", "gateway_network_id", "project_id", "id"),
    "ix_routers_name_owned": ("routers", "name", "project_id", "id"),
    "ix_routers_project_id_id": ("routers", "project_id", "id"),
    "ix_security_groups_name_owned": ("security_groups", "name", "project_id", "id"),
    "ix_security_groups_project_id_id": ("security_groups", "project_id", "id"),
}


def upgrade() -> None:
    """Make the new ones first: nothing is looked for without an index meanwhile."""
    for name, (table, *columns) in _MADE.items():
        op.create_index(name, table, columns)
    for name, (table, _) in _GONE.items():
        op.drop_index(name, table)


def downgrade() -> None:
    """Have those that were there."""
    for name, (table, *columns) in _GONE.items():
        op.create_index(name, table, columns)
    for name, (table, *_) in _MADE.items():
        op.drop_index(name, table)
