"""Passwords are sealed until their action ends"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for what is sealed. What lay readable was wiped off before: see `store.migrate`."""
    op.add_column("actions", sa.Column("sealed", sa.Text(), nullable=True))
    sealed = sa.text("sealed IS NOT NULL")
    op.create_index("ix_actions_sealed", "actions", ["state"], sqlite_where=sealed, postgresql_where=sealed)


def downgrade() -> None:
    """Passwords that are sealed now are lost to the release before."""
    op.drop_index("ix_actions_sealed", "actions")
    op.drop_column("actions", "sealed")
