"""Subjects of actions, versions of journals, and where something of a server may be"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and table. `server_id` is the subject's id from now on: the release before knows that name alone.

    What the table has to say of the servers that are there is read from their journals: see `store.migrate`.
    """
    op.add_column("actions", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("actions", sa.Column("subject_kind", sa.String(16), server_default="server", nullable=False))
    op.create_table(
        "holdings",
        sa.Column("server_id", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("action_id", sa.String(64), nullable=False),
        sa.Column("owed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("server_id", "host", "action_id", name=op.f("pk_holdings")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_holdings_host", "holdings", ["host"])
    first = sa.text("version = 1")
    op.create_index("ix_actions_first_version", "actions", ["version"], sqlite_where=first, postgresql_where=first)


def downgrade() -> None:
    """Remove them."""
    op.drop_index("ix_actions_first_version", "actions")
    op.drop_index("ix_holdings_host", "holdings")
    op.drop_table("holdings")
    op.drop_column("actions", "subject_kind")
    op.drop_column("actions", "version")
