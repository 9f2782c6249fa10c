"""Names and domains in DNS, DHCP options, and bindings by administrators of ports"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("networks", sa.Column("dns_domain", sa.String(length=255), server_default="", nullable=False))
    for column in (
        sa.Column("dns_domain", sa.String(length=255), server_default="", nullable=False),
        sa.Column("dhcp_options", sa.Text(), server_default="[]", nullable=False),
        sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("profile", sa.Text(), server_default="{}", nullable=False),
    ):
        op.add_column("ports", column)


def downgrade() -> None:
    """Remove them."""
    for name in ("profile", "pinned", "dhcp_options", "dns_domain"):
        op.drop_column("ports", name)
    op.drop_column("networks", "dns_domain")
