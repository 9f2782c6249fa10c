"""Who asks: the facts of one request that rules are decided on."""

from __future__ import annotations

import msgspec


class Context(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The caller of one request, as its token proves it; nothing in it comes from a header the caller wrote.

    Exactly one of `project_id`, `domain_id` and `system` is set for a scoped token, none for an unscoped one.
    """

    request_id: str
    user_id: str = ""
    user_name: str = ""
    user_domain_id: str = ""
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    domain_id: str | None = None
    system: bool = False
    roles: frozenset[str] = frozenset()
    """Role names, the implied ones included."""
    restricted: bool = False
    """Whether the token comes from an application credential that may not make or delete such credentials."""
    token: str = ""
    global_request_id: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the caller may act for every project (the `admin` role, in any scope)."""
        return "admin" in self.roles

    def owns(self, project_id: str | None) -> bool:
        """Whether a thing of that project is the caller's own."""
        return self.project_id is not None and self.project_id == project_id
