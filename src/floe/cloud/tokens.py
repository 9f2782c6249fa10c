"""Tokens: proof of who asks."""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from floe.cloud import identity, token_cache, token_codec
from floe.cloud.cloud import Cloud
from floe.core import roles as role_rules
from floe.core.application_credentials import ApplicationCredential
from floe.core.assignments import DOMAIN, PROJECT, SYSTEM, WHOLE_SYSTEM
from floe.core.context import Context
from floe.core.domains import Domain
from floe.core.errors import Forbidden, NotFound, Unauthenticated
from floe.core.roles import Role
from floe.core.tokens import Bearer, Token
from floe.store import application_credentials as credential_rows
from floe.store import assignments as assignment_rows
from floe.store import domains as domain_rows
from floe.store import projects as project_rows
from floe.store import roles as role_rows
from floe.store import tokens as token_rows
from floe.store import users as user_rows
from floe.store.engine import Connection


async def authenticate(cloud: Cloud, token: str, request_id: str) -> Context:
    """Return who a token speaks for. Raises Unauthenticated for one that is unknown, expired or revoked.

    A token seen before, with no change of identity since, costs no read and no decryption.
    """
    known = token_cache.of(cloud).entries.get(token)
    if known is None or known[0] <= cloud.clock.now():
        known = await _learn(cloud, token)
    return structs.replace(known[1], request_id=request_id)


async def verify(cloud: Cloud, text: str) -> Bearer:
    """Return whom a token speaks for by what the database says now. Raises Unauthenticated.

    A token seen before costs one read of a number, with no change of identity since.
    """
    seen = await token_cache.current(cloud)
    known = seen.bearers.get(text)
    if known is not None and known[0] > cloud.clock.now():
        return known[1]
    token = token_codec.read(cloud, text)
    now = cloud.clock.now()
    generation, found = await token_cache.read(cloud, lambda conn: bearer(conn, token, now))
    ends = [token.expires_at]
    if found.credential is not None and found.credential.expires_at is not None:
        ends.append(found.credential.expires_at)
    seen.keep(seen.bearers, text, (min(ends), found), generation, token_cache.MAX_BEARERS)
    return found


async def subject(cloud: Cloud, context: Context, text: str, *, services: bool = True) -> Bearer:
    """Return whom another token speaks for; one's own user's, or any for those who check tokens.

    `services` says whether the role service is enough.
    Raises NotFound if it is not valid, Forbidden if it is somebody else's.
    """
    try:
        found = await verify(cloud, text)
    except Unauthenticated:
        raise NotFound("token", message="The token in X-Subject-Token is not valid.") from None
    checks = identity.reads_all(context) or (services and "service" in context.roles)
    if found.user.id != context.user_id and not checks:
        raise Forbidden("Another user's token is checked with the role admin or service, or reader on the system.")
    return found


async def revoke(cloud: Cloud, context: Context, text: str) -> None:
    """End a token at once. Raises NotFound if it is not valid, Forbidden if it is somebody else's."""
    found = await subject(cloud, context, text)
    if found.user.id != context.user_id and not context.is_admin:
        raise Forbidden("Another user's token is revoked with the role admin.")
    token = found.token
    await identity.change(cloud, lambda conn: token_rows.revoke(conn, token.audit_ids[0], token.expires_at))


def bearer(conn: Connection, token: Token, now: datetime) -> Bearer:
    """Return whom a token speaks for. Raises Unauthenticated if anything in its chain no longer holds."""
    if token.expires_at <= now:
        raise Unauthenticated("The token has expired; ask for a new one.")
    if token_rows.is_revoked(conn, token.audit_ids[:1]):
        raise Unauthenticated("The token has been revoked.")
    user = user_rows.get(conn, token.user_id)
    if user is None or not user.enabled or user.stamp != token.stamp:
        raise Unauthenticated("The token is dead: its user is gone, disabled, or has another password now.")
    user_domain = _enabled_domain(conn, user.domain_id)
    credential = _credential(conn, token, now)
    project, domain = None, None
    if token.scope_kind == PROJECT:
        project = project_rows.get(conn, token.scope_id)
        if project is None or not project.enabled:
            raise Unauthenticated("The token is dead: its project is gone or disabled.")
        domain = _enabled_domain(conn, project.domain_id)
    elif token.scope_kind == DOMAIN:
        domain = _enabled_domain(conn, token.scope_id)
    found: tuple[Role, ...] = ()
    if token.scope_kind in {PROJECT, DOMAIN, SYSTEM}:
        target = token.scope_id or WHOLE_SYSTEM
        found = roles_on(conn, user.id, token.scope_kind, target, credential)
        if not found:
            raise Unauthenticated(f"The user has no role on the {token.scope_kind} that the token is for.")
    return Bearer(
        token=token,
        user=user,
        user_domain=user_domain,
        project=project,
        domain=domain,
        roles=found,
        credential=credential,
    )


def roles_on(
    conn: Connection, user_id: str, kind: str, target_id: str, credential: ApplicationCredential | None = None
) -> tuple[Role, ...]:
    """Return the roles a user has on a target, the implied ones included; with a credential, only those it carries."""
    given = {
        assignment.role_id
        for assignment in assignment_rows.of_user(conn, user_id)
        if (assignment.target_kind, assignment.target_id) == (kind, target_id)
    }
    implications = role_rows.implied(conn)
    ids = role_rules.expand(given, implications)
    if credential is not None:
        ids &= role_rules.expand(credential.role_ids, implications)
    return tuple(sorted((role for role in role_rows.find(conn) if role.id in ids), key=lambda role: role.name))


async def _learn(cloud: Cloud, text: str) -> tuple[datetime, Context]:
    token, now = token_codec.read(cloud, text), cloud.clock.now()

    def run(conn: Connection) -> tuple[int, Bearer, frozenset[str]]:
        found = bearer(conn, token, now)
        return token_rows.generation(conn), found, role_rules.policy_names(found.roles, role_rows.find(conn))

    generation, found, roles = await cloud.db.read(run)
    context = Context(
        request_id="",
        user_id=found.user.id,
        user_name=found.user.name,
        user_domain_id=found.user.domain_id,
        project_id=found.project.id if found.project else None,
        project_name=found.project.name if found.project else None,
        project_domain_id=found.project.domain_id if found.project else None,
        domain_id=token.scope_id if token.scope_kind == DOMAIN else None,
        system=token.scope_kind == SYSTEM,
        roles=roles,
        restricted=found.credential is not None and not found.credential.unrestricted,
        token=text,
    )
    token_cache.of(cloud).put(text, token.expires_at, context, generation)
    return token.expires_at, context


def _enabled_domain(conn: Connection, domain_id: str) -> Domain:
    domain = domain_rows.get(conn, domain_id)
    if domain is None or not domain.enabled:
        raise Unauthenticated("The token is dead: its domain is gone or disabled.")
    return domain


def _credential(conn: Connection, token: Token, now: datetime) -> ApplicationCredential | None:
    if token.credential_id is None:
        return None
    credential = credential_rows.get(conn, token.credential_id)
    if credential is None or (credential.expires_at is not None and credential.expires_at <= now):
        raise Unauthenticated("The token is dead: its application credential is gone or has expired.")
    return credential
