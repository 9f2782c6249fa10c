"""Who may do what on the network surface: the rules of Neutron's policies, all of which are for tokens of projects."""

from __future__ import annotations

from msgspec.structs import replace

from floe.api.kit import policy
from floe.core.context import Context

of_project = policy.in_project(policy.authenticated)
admin = policy.in_project(policy.admin)
writer = policy.project_member
"""Whoever may change things of the token's project; an administrator, by a token of any project, those of all."""


def onlooker(context: Context) -> Context | None:
    """Return the caller as what lists and shows are for: without a project for who may not read its things.

    Such a caller sees what is shared with all. One with a token of a domain or of the system sees nothing (None).
    """
    if context.domain_id is not None or context.system:
        return None
    reads = of_project(context) and policy.project_reader(context)
    return context if reads else replace(context, project_id=None, roles=frozenset())
