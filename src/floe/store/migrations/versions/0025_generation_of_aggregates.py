"""How often what flavors may ask of aggregates changed, which the start that follows has the database count"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "generations",
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_generations")),
    )


def downgrade() -> None:
    """Remove it, and what counts."""
    postgres = op.get_bind().dialect.name == "postgresql"
    for name in (f"generation_aggregates_{event}" for event in ("insert", "update", "delete")):
        op.execute(f"DROP FUNCTION IF EXISTS {name}() CASCADE" if postgres else f"DROP TRIGGER IF EXISTS {name}")
    op.drop_table("generations")
