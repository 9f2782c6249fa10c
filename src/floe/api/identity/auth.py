"""Tokens, and what the caller's token opens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from floe.api.identity import auth_body, domains, projects
from floe.api.identity.dialect import shown
from floe.api.identity.filters import Filters
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated, public
from floe.api.kit.routing import Route
from floe.cloud import catalogue, identity, logins, tokens, users
from floe.core.assignments import DOMAIN, PROJECT, SYSTEM
from floe.core.clock import iso_micro
from floe.core.domains import Domain
from floe.core.errors import Invalid
from floe.core.tokens import UNSCOPED, Bearer

_ALL = Filters()


async def create(call: Call) -> Reply:
    """Log in; the token's text is in the header X-Subject-Token."""
    ways, scope = auth_body.read(await call.raw())
    text, bearer = await logins.login(call.cloud, ways, scope, call.peer)
    return await _token(call, bearer, 201, text)


async def show(call: Call) -> Reply:
    """Check a token and show what it says."""
    text = _subject(call)
    return await _token(call, await tokens.subject(call.cloud, call.context, text), 200, text)


async def check(call: Call) -> Reply:
    """Check a token, without a body."""
    await tokens.subject(call.cloud, call.context, _subject(call), services=False)
    return Reply(200)


async def revoke(call: Call) -> Reply:
    """End a token at once."""
    await tokens.revoke(call.cloud, call.context, _subject(call))
    return Reply(204)


async def show_catalogue(call: Call) -> Reply:
    """Show the catalogue for the caller's token."""
    body = {"catalog": await _catalogue(call, call.context.project_id, call.context.user_id)}
    return Reply(200, {**body, "links": {"self": call.url("/v3/auth/catalog")}})


async def list_projects(call: Call) -> Reply:
    """List the projects the caller may have a token for."""
    found = await users.projects(call.cloud, call.context, call.context.user_id)
    return await _ALL.listed(
        call, "projects", "/v3/auth/projects", (shown(projects.PROJECT, call, item) for item in found if item.enabled)
    )


async def list_domains(call: Call) -> Reply:
    """List the domains the caller may have a token for."""
    found = await users.domains_with_a_role(call.cloud, call.context)
    return await _ALL.listed(
        call, "domains", "/v3/auth/domains", (shown(domains.DOMAIN, call, item) for item in found if item.enabled)
    )


async def list_systems(call: Call) -> Reply:
    """Say whether the caller may have a token for the system."""
    systems = [{"all": True}] if await users.has_a_role_on_the_system(call.cloud, call.context) else []
    return Reply(200, {"system": systems, "links": {"self": call.url("/v3/auth/system")}})


def _subject(call: Call) -> str:
    text = call.header("x-subject-token")
    if not text:
        raise Invalid("The header X-Subject-Token is missing: it names the token that this is about.")
    return text


async def _token(call: Call, bearer: Bearer, status: int, text: str) -> Reply:
    token = bearer.token
    shown: dict[str, Any] = {
        "methods": list(token.methods),
        "user": {
            "id": bearer.user.id,
            "name": bearer.user.name,
            "domain": _domain(bearer.user_domain),
            "password_expires_at": None,
        },
        "audit_ids": list(token.audit_ids),
        "expires_at": _moment(token.expires_at),
        "issued_at": _moment(token.issued_at),
    }
    if token.scope_kind == PROJECT and bearer.project and bearer.domain:
        project = bearer.project
        shown["project"] = {"id": project.id, "name": project.name, "domain": _domain(bearer.domain)}
        shown["is_domain"] = False
    elif token.scope_kind == DOMAIN and bearer.domain:
        shown["domain"] = _domain(bearer.domain)
    elif token.scope_kind == SYSTEM:
        shown["system"] = {"all": True}
    if token.scope_kind != UNSCOPED:
        shown["roles"] = [{"id": role.id, "name": role.name} for role in bearer.roles]
        if call.one("nocatalog") is None:
            shown["catalog"] = await _catalogue(call, bearer.project.id if bearer.project else None, bearer.user.id)
    if bearer.credential:
        credential = bearer.credential
        shown["application_credential"] = {
            "id": credential.id,
            "name": credential.name,
            "restricted": not credential.unrestricted,
        }
    return Reply(status, {"token": shown}, {"x-subject-token": text, "vary": "X-Auth-Token"})


async def _catalogue(call: Call, project_id: str | None, user_id: str) -> msgspec.Raw:
    return msgspec.Raw(await catalogue.for_token(call.cloud, project_id, user_id, _written))


def _written(offered: catalogue.Offered) -> bytes:
    return msgspec.json.encode(
        [
            {
                "id": service.id,
                "type": service.type,
                "name": service.name,
                "endpoints": [
                    {
                        "id": endpoint.id,
                        "interface": endpoint.interface,
                        "region": endpoint.region_id,
                        "region_id": endpoint.region_id,
                        "url": url,
                    }
                    for endpoint, url in endpoints
                ],
            }
            for service, endpoints in offered
        ]
    )


def _domain(domain: Domain) -> dict[str, str]:
    return {"id": domain.id, "name": domain.name}


def _moment(moment: datetime) -> str:
    return f"{iso_micro(moment)}Z"


ROUTES = (
    Route("POST", "/v3/auth/tokens", create, "identity:authenticate"),
    Route("GET", "/v3/auth/tokens", show, "identity:validate_token"),
    Route("HEAD", "/v3/auth/tokens", check, "identity:check_token"),
    Route("DELETE", "/v3/auth/tokens", revoke, "identity:revoke_token"),
    Route("GET", "/v3/auth/catalog", show_catalogue, "identity:get_auth_catalog"),
    Route("GET", "/v3/auth/projects", list_projects, "identity:get_auth_projects"),
    Route("GET", "/v3/auth/domains", list_domains, "identity:get_auth_domains"),
    Route("GET", "/v3/auth/system", list_systems, "identity:get_auth_system"),
)
POLICIES: Policies = {
    "identity:authenticate": public,
    "identity:validate_token": authenticated,
    "identity:check_token": authenticated,
    "identity:revoke_token": authenticated,
    "identity:get_auth_catalog": identity.has_project,
    "identity:get_auth_projects": authenticated,
    "identity:get_auth_domains": authenticated,
    "identity:get_auth_system": authenticated,
}
