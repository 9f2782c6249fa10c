"""Who may do what: one table per surface from a rule's name to one of these decisions.

A rule decides on the caller alone. Whether a thing is the caller's own is decided where it is looked up: what
belongs to another project is not found (404), whatever the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from floe.core.context import Context
from floe.core.errors import Forbidden

Rule = Callable[[Context], bool]
Policies = Mapping[str, Rule]


def public(_context: Context) -> bool:
    """Anybody, without a token."""
    return True


def authenticated(context: Context) -> bool:
    """Anybody with a token, whatever its scope."""
    return bool(context.user_id)


def reader(context: Context) -> bool:
    """Whoever may look at things in the token's scope."""
    return "reader" in context.roles


def member(context: Context) -> bool:
    """Whoever may change things in the token's scope."""
    return "member" in context.roles


def project_reader(context: Context) -> bool:
    """Whoever may look at things of the token's project, or an administrator of any scope."""
    return context.is_admin or (context.project_id is not None and "reader" in context.roles)


def project_member(context: Context) -> bool:
    """Whoever may change things of the token's project."""
    return context.project_id is not None and ("member" in context.roles or context.is_admin)


def admin(context: Context) -> bool:
    """Administrators."""
    return context.is_admin


def project_manager(context: Context) -> bool:
    """Whoever manages the token's project, or an administrator."""
    return context.is_admin or "manager" in context.roles


def admin_or_service(context: Context) -> bool:
    """Administrators, and the other services of a cloud."""
    return context.is_admin or "service" in context.roles


def operator(context: Context) -> bool:
    """Administrators of a project or of the system, whose business the hosts are; not those of a domain."""
    return context.is_admin and (context.system or context.project_id is not None)


def in_project(rule: Rule) -> Rule:
    """Return a rule that asks for a token scoped to a project besides.

    It is what Nova and Placement mean by a scope: an administrator of a domain, or of the system, uses a project's.
    """

    def decide(context: Context) -> bool:
        return context.project_id is not None and rule(context)

    return decide


def enforce(policies: Policies, name: str, context: Context) -> None:
    """Raise Forbidden unless the rule of that name lets the caller pass."""
    if not policies[name](context):
        scope = "this token's scope" if context.user_id else "no token"
        raise Forbidden(f"Policy does not allow {name} to be performed with {scope} and roles: {_roles(context)}.")


def allows(policies: Policies, name: str, context: Context) -> bool:
    """Say whether the rule of that name lets the caller pass."""
    return policies[name](context)


def _roles(context: Context) -> str:
    return ", ".join(sorted(context.roles)) or "none"
