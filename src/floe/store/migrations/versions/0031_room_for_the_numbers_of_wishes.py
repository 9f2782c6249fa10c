"""Room for the numbers by which hosts tell wishes and boots apart, which the clock is in"""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the columns wide where they are not: SQLite's are as wide as a number needs."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE servers ALTER boots TYPE bigint, ALTER guest_generation TYPE bigint")


def downgrade() -> None:
    """Leave them as they are: hosts have heard of what is in them, and obey nothing that is less."""
