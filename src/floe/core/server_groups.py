"""Server groups: servers that want to be together, or apart."""

from __future__ import annotations

from datetime import datetime

import msgspec

from floe.core.errors import Invalid

AFFINITY, ANTI_AFFINITY = "affinity", "anti-affinity"
SOFT_AFFINITY, SOFT_ANTI_AFFINITY = "soft-affinity", "soft-anti-affinity"


def check_rules(policy: str, max_per_host: int | None) -> None:
    """Raise Invalid for a rule that means nothing under the policy."""
    if max_per_host is not None and policy != ANTI_AFFINITY:
        raise Invalid(f"Only anti-affinity policy supports rules: max_server_per_host with {policy!r} means nothing.")


class ServerGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group. `max_per_host` is for anti-affinity alone: how many of its servers one host may have."""

    id: str
    project_id: str
    user_id: str
    name: str
    policy: str
    max_per_host: int | None = None
    quota_owner: str | None = None
    """Whom it is counted for besides its project: its user, if that has limits of their own."""
    created_at: datetime

    @property
    def limit_per_host(self) -> int:
        """How many of its servers one host may have under anti-affinity."""
        return self.max_per_host or 1
