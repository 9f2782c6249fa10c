"""Actions of images"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what finds those of images. What the release before had under way gets its actions at the next start."""
    of_images = sa.text("subject_kind = 'image'")
    op.create_index("ix_actions_images", "actions", ["state", "id"], sqlite_where=of_images, postgresql_where=of_images)


def downgrade() -> None:
    """Leave actions of images alone: the release before finishes what they are at by its own rows."""
    op.drop_index("ix_actions_images", "actions")
