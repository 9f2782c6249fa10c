"""The certificates under which the images of a server have to be signed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No server has named any."""
    op.add_column("servers", sa.Column("trusted_certificates", sa.Text(), nullable=True))


def downgrade() -> None:
    """Forget them."""
    op.drop_column("servers", "trusted_certificates")
