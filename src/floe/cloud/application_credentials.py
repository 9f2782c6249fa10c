"""What the cloud does with application credentials."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from floe.cloud import identity, passwords, tokens
from floe.cloud.cloud import Cloud
from floe.core.application_credentials import MOST, RESOURCE, ApplicationCredential
from floe.core.assignments import PROJECT
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.listing import Listing
from floe.core.names import same_name
from floe.core.roles import Role, policy_names
from floe.core.tokens import Named
from floe.core.users import check_password
from floe.store import application_credentials as credential_rows
from floe.store import quota_usages
from floe.store import roles as role_rows
from floe.store.engine import Connection


@dataclass(frozen=True, slots=True)
class Detail:
    """A credential with its roles, and its secret in the reply to the create alone."""

    credential: ApplicationCredential
    roles: tuple[Role, ...]
    secret: str | None = field(default=None, repr=False)
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Clients keep nothing of their own with it."""

    @property
    def id(self) -> str:
        """The credential's id."""
        return self.credential.id


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[Detail]:
    """Return a user's application credentials: one's own, or anybody's for readers of the system."""
    user_id = listing.also["user_id"]
    _demand_look(context, user_id)

    def run(conn: Connection) -> list[Detail]:
        known = role_rows.find(conn)
        return [_with_roles(item, known) for item in credential_rows.find(conn, user_id=user_id)]

    return await cloud.db.read(run)


async def show(cloud: Cloud, context: Context, which: tuple[str, str]) -> Detail:
    """Return an application credential, by (user's id, its own). Raises NotFound for one that is not that user's."""
    _demand_look(context, which[0])
    return await cloud.db.read(lambda conn: _with_roles(_demand(conn, *which), role_rows.find(conn)))


async def create(cloud: Cloud, context: Context, asked: Mapping[str, Any]) -> Detail:
    """Make one for the caller in the token's project, with its secret, which is shown this once.

    `roles` None means all that the caller has there.
    """
    user_id, name, roles = asked["user_id"], asked["name"], asked.get("roles")
    if asked.get("project_id") not in (None, context.project_id):
        raise Invalid(f"project_id must be the token's project, {context.project_id!r}.")
    if user_id != context.user_id:
        raise Forbidden("Application credentials are made by their user alone.")
    if context.domain_id is not None or context.system:
        raise Forbidden("An application credential is made with a token of the project that it is for.")
    _demand_unrestricted(context)
    project_id = context.project_id
    if project_id is None:
        raise Invalid("An application credential acts in a project: use a token of the project it is for.")
    expires_at = asked.get("expires_at")
    if expires_at is not None and expires_at <= cloud.clock.now():
        raise Invalid(f"expires_at must be in the future (it is {expires_at:%Y-%m-%dT%H:%M:%S}).")
    secret = asked.get("secret") or secrets.token_urlsafe(48)
    check_password(secret)
    secret_hash = await passwords.hashed(cloud, context, secret)

    credential_id = identity.new_id(cloud)

    def run(conn: Connection) -> Detail:
        if credential_rows.called(conn, name, user_id=user_id) is not None:
            raise Conflict(f"You have an application credential named {name!r} already.")
        if quota_usages.of(conn, user_id)[RESOURCE] >= MOST:
            raise Forbidden(f"You have {MOST} application credentials, and may have no more; delete some.")
        known = role_rows.find(conn)
        held = [
            role
            for role in tokens.roles_on(conn, user_id, PROJECT, project_id)
            if policy_names([role], known) <= context.roles
        ]
        credential = ApplicationCredential(
            id=credential_id,
            user_id=user_id,
            project_id=project_id,
            name=name,
            description=asked.get("description"),
            secret_hash=secret_hash,
            unrestricted=asked.get("unrestricted", False),
            expires_at=expires_at,
            role_ids=tuple(role.id for role in (held if roles is None else _chosen(held, roles))),
        )
        credential_rows.insert(conn, credential)
        return _with_roles(credential, known)

    return replace(await identity.change(cloud, run), secret=secret)


async def delete(cloud: Cloud, context: Context, which: tuple[str, str]) -> None:
    """Remove an application credential, by (user's id, its own); its tokens are dead."""
    _demand_no_domain(context)
    if which[0] != context.user_id and not context.is_admin:
        raise Forbidden("Another user's application credentials are deleted with the role admin.")
    _demand_unrestricted(context)

    def run(conn: Connection) -> None:
        credential_rows.delete(conn, _demand(conn, *which).id)

    await identity.change(cloud, run)


def _demand(conn: Connection, user_id: str, credential_id: str) -> ApplicationCredential:
    found = credential_rows.get(conn, credential_id)
    if found is None or found.user_id != user_id:
        raise NotFound("application credential", credential_id)
    return found


def _demand_look(context: Context, user_id: str) -> None:
    _demand_no_domain(context)
    if user_id != context.user_id and not identity.reads_all(context):
        raise Forbidden("You may look at your own application credentials only.")


def _demand_no_domain(context: Context) -> None:
    if context.domain_id is not None:
        raise Forbidden("A token of a domain is not for application credentials; use one of a project.")


def _demand_unrestricted(context: Context) -> None:
    if context.restricted:
        raise Forbidden(
            "This token comes from a restricted application credential, which may not manage such credentials."
        )


def _chosen(held: Sequence[Role], wanted: Sequence[Named]) -> list[Role]:
    chosen = []
    for named in wanted:
        fitting = [role for role in held if role.id == named.id or (named.id is None and _is(role, named.name))]
        if not fitting:
            raise Invalid(
                f"roles: you do not have the role {named.id or named.name!r} in this project; "
                f"you have: {', '.join(role.name for role in held)}."
            )
        chosen += fitting
    return chosen


def _is(role: Role, name: str | None) -> bool:
    return name is not None and same_name(role.name, name)


def _with_roles(credential: ApplicationCredential, known: Sequence[Role]) -> Detail:
    return Detail(credential, tuple(role for role in known if role.id in credential.role_ids))
