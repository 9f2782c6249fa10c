"""Logging in: from a proof of who one is to a token of some scope.

All failed proofs look alike and take as long, so that nobody learns which users there are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from floe.cloud import attempts, passwords, token_codec, tokens
from floe.cloud.cloud import Cloud
from floe.core.application_credentials import ApplicationCredential
from floe.core.assignments import DOMAIN, PROJECT, SYSTEM
from floe.core.errors import Forbidden, Unauthenticated
from floe.core.tokens import (
    UNSCOPED,
    Bearer,
    CredentialLogin,
    Login,
    Named,
    PasswordLogin,
    ScopeAsked,
    Token,
    TokenLogin,
)
from floe.core.users import User
from floe.store import application_credentials as credential_rows
from floe.store import domains as domain_rows
from floe.store import projects as project_rows
from floe.store import users as user_rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)


class _Proof(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    methods: tuple[str, ...]
    stamp: int | None = None
    """The user's stamp when the proof was checked: a password that changed meanwhile proves nothing."""
    credential: ApplicationCredential | None = None
    parent: Token | None = None


async def login(cloud: Cloud, ways: Sequence[Login], scope: ScopeAsked, address: str) -> tuple[str, Bearer]:
    """Return a new token's text and whom it speaks for; every one of `ways` must prove the same user.

    `address` is where it comes from. Raises Busy when too many wrong secrets came from there, Unauthenticated, also
    where the user has no role in the scope asked for, and Forbidden for a token of an application credential, which
    stays in its project.
    """
    proofs = [await _prove(cloud, way, address) for way in ways]
    if not proofs or len({proof.user_id for proof in proofs}) != 1:
        raise _refusal()
    own, now = token_codec.new_audit_id(cloud), cloud.clock.now()
    end = now + timedelta(seconds=cloud.settings.token_seconds)
    try:
        found = await cloud.db.read(lambda conn: _make(conn, proofs, scope, own, now, end))
    except Unauthenticated as error:
        if isinstance(why := error.__cause__, Unauthenticated):
            log.info("user %s gets no token for a %s: %s", proofs[0].user_id, scope.kind, why.message)
        raise
    return token_codec.write(cloud, found.token), found


def find_user(conn: Connection, named: Named) -> User | None:
    """Return a user by its id, or by its name in a domain."""
    if named.id is not None:
        return user_rows.get(conn, named.id)
    domain_id = find_domain(conn, Named(id=named.domain_id, name=named.domain_name))
    return user_rows.called(conn, named.name or "", domain_id=domain_id) if domain_id else None


def find_domain(conn: Connection, named: Named) -> str | None:
    """Return the id of a domain that is named by id or by name; None if there is none of that name."""
    if named.id is not None:
        return named.id
    domain = domain_rows.called(conn, named.name or "")
    return domain.id if domain else None


async def _prove(cloud: Cloud, way: Login, address: str) -> _Proof:
    if isinstance(way, TokenLogin):
        found = await tokens.verify(cloud, way.token)
        if found.credential is not None:
            raise Forbidden("A token of an application credential cannot be exchanged; use the credential again.")
        methods = (*found.token.methods, "token")
        return _Proof(user_id=found.user.id, methods=methods, stamp=found.token.stamp, parent=found.token)
    if isinstance(way, PasswordLogin):
        claim = attempts.claim_of_user(way.user, address)
        user = await cloud.db.read(lambda conn: find_user(conn, way.user))
        right = await passwords.matches(cloud, user.password_hash if user else None, way.password, claim)
        if not right or user is None or not await _usable(cloud, user):
            raise _refusal()
        attempts.succeed(cloud, claim)
        return _Proof(user_id=user.id, methods=("password",), stamp=user.stamp)
    claim = attempts.claim_of_credential(way, address)
    credential = await cloud.db.read(lambda conn: _find_credential(conn, way))
    right = await passwords.matches(cloud, credential.secret_hash if credential else None, way.secret, claim)
    if not right or credential is None:
        raise _refusal()
    if credential.expires_at is not None and credential.expires_at <= cloud.clock.now():
        raise _refusal()
    attempts.succeed(cloud, claim)
    return _Proof(user_id=credential.user_id, methods=("application_credential",), credential=credential)


async def _usable(cloud: Cloud, user: User) -> bool:
    domain = await cloud.db.read(lambda conn: domain_rows.get(conn, user.domain_id))
    return user.enabled and domain is not None and domain.enabled


def _find_credential(conn: Connection, way: CredentialLogin) -> ApplicationCredential | None:
    if way.credential_id is not None:
        return credential_rows.get(conn, way.credential_id)
    user = find_user(conn, way.user) if way.user else None
    return credential_rows.called(conn, way.name or "", user_id=user.id) if user else None


def _make(
    conn: Connection, proofs: Sequence[_Proof], scope: ScopeAsked, own: str, now: datetime, end: datetime
) -> Bearer:
    user = user_rows.get(conn, proofs[0].user_id)
    if user is None:
        raise _refusal()
    parent = next((proof.parent for proof in proofs if proof.parent), None)
    credential = next((proof.credential for proof in proofs if proof.credential), None)
    ends = [end]
    if parent:
        ends.append(parent.expires_at)
    if credential and credential.expires_at:
        ends.append(credential.expires_at)

    def token(kind: str, scope_id: str) -> Token:
        return Token(
            user_id=user.id,
            methods=tuple(dict.fromkeys(method for proof in proofs for method in proof.methods)),
            scope_kind=kind,
            scope_id=scope_id,
            issued_at=now,
            expires_at=min(ends),
            audit_ids=(own, parent.audit_ids[-1]) if parent else (own,),
            credential_id=credential.id if credential else None,
            stamp=min((proof.stamp for proof in proofs if proof.stamp is not None), default=user.stamp),
        )

    if credential is not None:
        if scope.kind is not None:
            raise Unauthenticated("With an application credential no scope can be asked for: it has its own.")
        return tokens.bearer(conn, token(PROJECT, credential.project_id), now)
    if scope.kind is None:
        if user.default_project_id is not None:
            try:
                return tokens.bearer(conn, token(PROJECT, user.default_project_id), now)
            except Unauthenticated:
                pass  # The default project cannot be used now; an unscoped token can still choose another.
        return tokens.bearer(conn, token(UNSCOPED, ""), now)
    scope_id = _scope_id(conn, scope)
    if scope_id is not None:
        try:
            return tokens.bearer(conn, token(scope.kind, scope_id), now)
        except Unauthenticated as error:
            raise _no_role(scope) from error
    raise _no_role(scope)


def _no_role(scope: ScopeAsked) -> Unauthenticated:
    return Unauthenticated(f"The user has no role on the {scope.kind} asked for, or it is disabled, or not there.")


def _scope_id(conn: Connection, scope: ScopeAsked) -> str | None:
    if scope.kind in {SYSTEM, UNSCOPED}:
        return ""
    named = scope.target
    if scope.kind == DOMAIN:
        return find_domain(conn, named)
    if named.id is not None:
        return named.id
    domain_id = find_domain(conn, Named(id=named.domain_id, name=named.domain_name))
    project = project_rows.called(conn, named.name or "", domain_id=domain_id) if domain_id else None
    return project.id if project else None


def _refusal() -> Unauthenticated:
    return Unauthenticated(
        "The login was refused: the user, password or secret is not right, or the account is disabled."
    )
