"""Tokens: what one says, and the ways to ask for one."""

from __future__ import annotations

from datetime import datetime

import msgspec

from floe.core.application_credentials import ApplicationCredential
from floe.core.domains import Domain
from floe.core.projects import Project
from floe.core.roles import Role
from floe.core.users import User

METHODS = ("password", "token", "application_credential")
"""The ways to log in; a token keeps which of them were used."""
UNSCOPED = "unscoped"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says by itself. `scope_kind` is that of an assignment's target, or UNSCOPED."""

    user_id: str
    methods: tuple[str, ...]
    scope_kind: str
    scope_id: str = ""
    issued_at: datetime
    expires_at: datetime
    audit_ids: tuple[str, ...]
    """Its own, then that of the first token of the chain it was made from."""
    credential_id: str | None = None
    stamp: int = 0
    """The user's stamp when it was made."""


class Bearer(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a token speaks for, with which roles, by what the database says now."""

    token: Token
    user: User
    user_domain: Domain
    project: Project | None = None
    domain: Domain | None = None
    """The domain of the scope; for a project, the one it is in."""
    roles: tuple[Role, ...] = ()
    """The implied ones included, by name."""
    credential: ApplicationCredential | None = None


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """Something named by its id, or by its name within a domain, which is named by id or by name."""

    id: str | None = None
    name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None


class PasswordLogin(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody says to be, and the proof."""

    user: Named
    password: str


class TokenLogin(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is to be exchanged for one of another scope."""

    token: str


class CredentialLogin(msgspec.Struct, frozen=True, kw_only=True):
    """An application credential by its id, or by its name and its user, and its secret."""

    credential_id: str | None = None
    name: str | None = None
    user: Named | None = None
    secret: str


Login = PasswordLogin | TokenLogin | CredentialLogin


class ScopeAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Which scope a token is asked for; `kind` None leaves it to the user's default project."""

    kind: str | None = None
    target: Named = Named()
