"""Names without case, and attributes of clients' own on all of identity"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NAMED = ("domains", "groups", "projects", "roles", "users")
_WITHOUT_PROPERTIES = ("domains", "roles", "regions", "catalogue_services", "catalogue_endpoints")


def upgrade() -> None:
    """Make the change. Names that differ in case alone are all kept; each is found by its exact name."""
    connection = op.get_bind()
    for name in _NAMED:
        op.add_column(name, sa.Column("folded", sa.Text(), nullable=True))
        op.create_index(f"ix_{name}_folded", name, ["folded"])
        table = sa.table(name, sa.column("id"), sa.column("name"), sa.column("folded"))
        for row in connection.execute(sa.select(table.c.id, table.c.name)).all():
            connection.execute(sa.update(table).where(table.c.id == row.id).values(folded=row.name.casefold()))
    for name in _WITHOUT_PROPERTIES:
        op.add_column(name, sa.Column("properties", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("domains", sa.Column("tags", sa.Text(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("domains", "tags")
    for name in _WITHOUT_PROPERTIES:
        op.drop_column(name, "properties")
    for name in _NAMED:
        op.drop_index(f"ix_{name}_folded", name)
        op.drop_column(name, "folded")
