"""What a server is rescued with"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0058"
down_revision = "0057"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """None is rescued."""
    op.add_column("servers", sa.Column("rescue", sa.Text(), nullable=True))


def downgrade() -> None:
    """Forget it: a host goes on with the guest that it has."""
    op.drop_column("servers", "rescue")
