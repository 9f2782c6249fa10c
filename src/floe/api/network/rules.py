"""Who may change things of the network surface."""

from __future__ import annotations

from floe.api.kit import policy
from floe.core.context import Context


def writer(context: Context) -> bool:
    """Whoever may change things of the token's project, or an administrator of any scope."""
    return context.is_admin or policy.project_member(context)
