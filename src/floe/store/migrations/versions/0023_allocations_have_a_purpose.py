"""Allocations have a purpose, so that a server may take something of one host twice"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the purpose be of the key; the release before names none, and means that of the guest."""
    with op.batch_alter_table("allocations") as allocations:
        allocations.add_column(sa.Column("purpose", sa.String(32), server_default="running", nullable=False))
        allocations.drop_constraint(op.f("pk_allocations"), type_="primary")
        allocations.create_primary_key(op.f("pk_allocations"), ["server_id", "host", "purpose"])


def downgrade() -> None:
    """Forget it, and what was taken for other purposes: the hosts are summed up by the audit."""
    op.execute("DELETE FROM allocations WHERE purpose <> 'running'")
    with op.batch_alter_table("allocations") as allocations:
        allocations.drop_constraint(op.f("pk_allocations"), type_="primary")
        allocations.create_primary_key(op.f("pk_allocations"), ["server_id", "host"])
        allocations.drop_column("purpose")
