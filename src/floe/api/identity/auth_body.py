"""The body of a login: how one proves who one is, and the scope asked for."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from floe.api.kit.body import Body, Field
from floe.core.assignments import DOMAIN, PROJECT, SYSTEM
from floe.core.errors import Invalid
from floe.core.tokens import (
    METHODS,
    UNSCOPED,
    CredentialLogin,
    Login,
    Named,
    PasswordLogin,
    ScopeAsked,
    TokenLogin,
)

_Name = Annotated[str, Meta(max_length=255)]
_Secret = Annotated[str, Meta(max_length=1024)]


class _Domain(msgspec.Struct):
    id: _Name | None = None
    name: _Name | None = None


class _InDomain(msgspec.Struct):
    id: _Name | None = None
    name: _Name | None = None
    domain: _Domain | None = None


class _PasswordUser(_InDomain, kw_only=True):
    password: _Secret


class _Password(msgspec.Struct):
    user: _PasswordUser


class _Token(msgspec.Struct):
    id: str


class _Credential(msgspec.Struct, kw_only=True):
    id: _Name | None = None
    name: _Name | None = None
    user: _InDomain | None = None
    secret: _Secret


class _Identity(msgspec.Struct):
    methods: Annotated[list[str], Meta(min_length=1, max_length=5)]
    password: _Password | None = None
    token: _Token | None = None
    application_credential: _Credential | None = None


class _Scope(msgspec.Struct):
    project: _InDomain | None = None
    domain: _Domain | None = None
    system: Annotated[dict[str, bool], Meta(max_length=8)] | None = None
    unscoped: Annotated[dict[str, Any], Meta(max_length=8)] | None = None


_AUTH = Body("auth", [Field("identity", _Identity, required=True), Field("scope", str | _Scope | None)], strict=False)


def read(data: bytes) -> tuple[list[Login], ScopeAsked]:
    """Return the proofs and the scope of a login. Raises Invalid."""
    body = _AUTH.read(data)
    identity: _Identity = body["identity"]
    return [_login(identity, method) for method in dict.fromkeys(identity.methods)], _scope(body.get("scope"))


def _login(identity: _Identity, method: str) -> Login:
    if method not in METHODS:
        raise Invalid(f"auth.identity.methods: {method!r} is not offered; offered are: {', '.join(METHODS)}.")
    part = getattr(identity, method)
    if part is None:
        raise Invalid(f"auth.identity.{method} is missing, though auth.identity.methods names it.")
    if isinstance(part, _Password):
        return PasswordLogin(user=_named(part.user, "auth.identity.password.user"), password=part.user.password)
    if isinstance(part, _Token):
        return TokenLogin(token=part.id)
    if part.id is not None:
        return CredentialLogin(credential_id=part.id, secret=part.secret)
    place = "auth.identity.application_credential"
    if part.name is None or part.user is None:
        raise Invalid(f"{place} must have an id, or a name and a user.")
    return CredentialLogin(name=part.name, user=_named(part.user, f"{place}.user"), secret=part.secret)


def _scope(scope: str | _Scope | None) -> ScopeAsked:
    if scope is None:
        return ScopeAsked()
    if isinstance(scope, str):
        if scope != UNSCOPED:
            raise Invalid(f"auth.scope must be an object or the word 'unscoped' (it is {scope[:80]!r}).")
        return ScopeAsked(kind=UNSCOPED)
    given = [kind for kind in (PROJECT, DOMAIN, SYSTEM, UNSCOPED) if getattr(scope, kind) is not None]
    if len(given) != 1:
        raise Invalid("auth.scope must have exactly one of project, domain, system and unscoped.")
    if scope.project is not None:
        return ScopeAsked(kind=PROJECT, target=_named(scope.project, "auth.scope.project"))
    if scope.domain is not None:
        if scope.domain.id is None and scope.domain.name is None:
            raise Invalid("auth.scope.domain must have an id or a name.")
        return ScopeAsked(kind=DOMAIN, target=Named(id=scope.domain.id, name=scope.domain.name))
    if scope.system is not None and scope.system != {"all": True}:
        raise Invalid('auth.scope.system must be {"all": true}.')
    return ScopeAsked(kind=given[0])


def _named(thing: _InDomain, place: str) -> Named:
    if thing.id is not None:
        return Named(id=thing.id)
    domain = thing.domain
    if thing.name is None or domain is None or (domain.id is None and domain.name is None):
        raise Invalid(f"{place} must have an id, or a name and a domain with an id or a name.")
    return Named(name=thing.name, domain_id=domain.id, domain_name=domain.name)
