"""What the nouns of identity share: how they change, and who may see and change them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from floe.cloud import token_cache
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.domains import DEFAULT_DOMAIN
from floe.core.errors import Forbidden
from floe.store import tokens as token_rows
from floe.store.engine import Connection

T = TypeVar("T")


async def change(cloud: Cloud, fn: Callable[[Connection], T]) -> T:
    """Run `fn` in a transaction that changes identity; when this returns, no token is judged by what was before.

    A caller that is cancelled does not stop it: the cache is emptied all the same.
    """

    def run(conn: Connection) -> tuple[T, int]:
        return fn(conn), token_rows.next_generation(conn)

    async def commit_and_flush() -> T:
        result, generation = await cloud.db.write(run)
        token_cache.of(cloud).notice(generation)
        return result

    return await asyncio.shield(commit_and_flush())


def new_id(cloud: Cloud) -> str:
    """Return a new id as identity writes them: 32 hex digits."""
    return cloud.new_id().replace("-", "")


def own_domain(context: Context) -> str:
    """Return the domain that things are made in when none is named."""
    return context.domain_id or context.project_domain_id or DEFAULT_DOMAIN


def has_project(context: Context) -> bool:
    """Say whether the caller has a token of a project."""
    return context.project_id is not None


def administers_cloud(context: Context) -> bool:
    """Say whether the caller may change what belongs to no domain: administrators, but not by a domain's token."""
    return context.is_admin and context.domain_id is None


def manages(context: Context) -> bool:
    """Say whether the caller may change things of some domain: administrators, and managers of one."""
    return context.is_admin or (context.domain_id is not None and "manager" in context.roles)


def reads_all(context: Context) -> bool:
    """Say whether the caller may look at everything: administrators, and readers of the system."""
    return context.is_admin or (context.system and "reader" in context.roles)


def reads_cloud(context: Context) -> bool:
    """Say whether the caller may look at what belongs to no domain; a domain's token is not for that."""
    return reads_all(context) and context.domain_id is None


def reads_domain(context: Context, domain_id: str) -> bool:
    """Say whether the caller may look at what is in a domain."""
    return reads_all(context) or (context.domain_id == domain_id and "reader" in context.roles)


def demand_read(context: Context, domain_id: str | None, what: str, *, own: bool = False) -> None:
    """Raise Forbidden unless the caller may look at something of that domain; `own` says that it is the caller's.

    With `domain_id` None there is no such thing; who may not look does not learn that.
    """
    if own or (reads_all(context) if domain_id is None else reads_domain(context, domain_id)):
        return
    raise Forbidden(f"You may not look at {what}: that takes the role admin, or reader on the system or on its domain.")


def demand_manage(context: Context, what: str, *domain_ids: str | None) -> None:
    """Raise Forbidden unless the caller may change something that is of all these domains.

    None stands for the domain of what is not there; who may not change it does not learn that.
    """
    if context.is_admin or (manages(context) and set(domain_ids) == {context.domain_id}):
        return
    raise Forbidden(f"You may not change {what}: that takes the role admin, or manager on its domain.")


def lists(context: Context) -> bool:
    """Say whether the caller may list things of others at all."""
    return reads_all(context) or (context.domain_id is not None and "reader" in context.roles)


def visible_domain(context: Context, what: str) -> str | None:
    """Return the one domain whose things a list shows, which is that of the token; None for all. Raises Forbidden."""
    if not lists(context):
        raise Forbidden(f"You may not list {what}: that takes the role admin, or reader on the system or a domain.")
    return context.domain_id
