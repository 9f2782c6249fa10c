"""Subjects of actions, versions of journals, and where something of a server may be"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. `server_id` is the subject's id from now on: the release before knows it by that name alone."""
    op.add_column("actions", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("actions", sa.Column("subject_kind", sa.String(16), server_default="server", nullable=False))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("actions", "subject_kind")
    op.drop_column("actions", "version")
