"""Which token may do what, by kind of token and role: Keystone's rules with their scopes.

The callers are all of the domain `home`; a request ends with its domain, of what it is about, where that matters. What
is expected was noted from a running Keystone that enforces the scopes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from floe.api.app import App
from floe.api.identity.surface import SURFACE
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Unauthenticated

from .conftest import Place

_EACH = ("reader", "member", "manager", "admin", "service")
_IMPLIED = {role: frozenset(_EACH[: index + 1]) for index, role in enumerate(_EACH[:4])} | {
    "service": frozenset({"service"})
}


def _all(kind: str, *roles: str) -> frozenset[str]:
    return frozenset(f"{kind}-{role}" for role in roles)


_READS = ("reader", "member", "manager", "admin")
EVERYBODY = frozenset({"unscoped"}).union(*(_all(kind, *_EACH) for kind in ("project", "domain", "system")))
ADMINS = frozenset({"project-admin", "domain-admin", "system-admin"})
CLOUD_ADMINS = ADMINS - {"domain-admin"}
READERS_OF_ALL = ADMINS | _all("system", *_READS)
CLOUD_READERS = READERS_OF_ALL - {"domain-admin"}
READERS = READERS_OF_ALL | _all("domain", *_READS)
MANAGERS = ADMINS | {"domain-manager"}
PROJECTS = _all("project", *_EACH)
NO_DOMAINS = EVERYBODY - _all("domain", *_EACH)

RULES: list[tuple[frozenset[str], frozenset[str], str, str, Any]] = [
    # who may in the callers' domain, who may in another, method, path, body
    (READERS, READERS_OF_ALL, "GET", "/users/{user}", None),
    (READERS, READERS_OF_ALL, "GET", "/users/{user}/projects", None),
    (READERS, READERS_OF_ALL, "GET", "/users/{user}/groups", None),
    (MANAGERS, ADMINS, "PATCH", "/users/{user}", {"user": {"description": "d"}}),
    (MANAGERS, ADMINS, "POST", "/users", {"user": {"name": "twin", "domain_id": "{domain}"}}),
    (ADMINS, ADMINS, "DELETE", "/users/none", None),
    (READERS, READERS_OF_ALL, "GET", "/groups/{group}", None),
    (READERS, READERS_OF_ALL, "GET", "/groups/{group}/users", None),
    (READERS, READERS_OF_ALL, "HEAD", "/groups/{group}/users/{user}", None),
    (MANAGERS, ADMINS, "PUT", "/groups/{group}/users/{user}", None),
    (MANAGERS, ADMINS, "DELETE", "/groups/{group}/users/{user}", None),
    (MANAGERS, ADMINS, "PATCH", "/groups/{group}", {"group": {"description": "d"}}),
    (MANAGERS, ADMINS, "POST", "/groups", {"group": {"name": "twin", "domain_id": "{domain}"}}),
    (ADMINS, ADMINS, "DELETE", "/groups/none", None),
    (READERS, READERS_OF_ALL, "GET", "/projects/{project}", None),
    (READERS, READERS_OF_ALL, "GET", "/projects/{project}/tags", None),
    (READERS, READERS_OF_ALL, "GET", "/projects/{project}/tags/t", None),
    (MANAGERS, ADMINS, "PATCH", "/projects/{project}", {"project": {"description": "d"}}),
    (MANAGERS, ADMINS, "POST", "/projects", {"project": {"name": "twin", "domain_id": "{domain}"}}),
    (MANAGERS, ADMINS, "PUT", "/projects/{project}/tags/t", None),
    (MANAGERS, ADMINS, "PUT", "/projects/{project}/tags", {"tags": ["t"]}),
    (MANAGERS, ADMINS, "DELETE", "/projects/{project}/tags/none", None),
    (MANAGERS, ADMINS, "DELETE", "/projects/{project}/tags", None),
    (ADMINS, ADMINS, "DELETE", "/projects/none", None),
    (EVERYBODY - {"unscoped"} - {"system-service"}, READERS_OF_ALL, "GET", "/domains/{domain}", None),
    (CLOUD_ADMINS, CLOUD_ADMINS, "PATCH", "/domains/{domain}", {"domain": {"description": "d"}}),
    (READERS, READERS_OF_ALL, "HEAD", "/projects/{project}/users/{user}/roles/{reader}", None),
    (READERS, READERS_OF_ALL, "GET", "/projects/{project}/users/{user}/roles", None),
    (READERS, READERS_OF_ALL, "GET", "/domains/{domain}/groups/{group}/roles", None),
    (MANAGERS, ADMINS, "PUT", "/projects/{project}/users/{user}/roles/{reader}", None),
    (MANAGERS, ADMINS, "PUT", "/domains/{domain}/groups/{group}/roles/{manager}", None),
    (MANAGERS, ADMINS, "DELETE", "/domains/{domain}/users/{user}/roles/{member}", None),
    (ADMINS, ADMINS, "PUT", "/projects/{project}/users/{user}/roles/{admin}", None),
    (ADMINS, ADMINS, "PUT", "/projects/{project}/users/{user}/roles/{service}", None),
    (ADMINS, ADMINS, "DELETE", "/domains/{domain}/users/{user}/roles/{admin}", None),
    (CLOUD_READERS, CLOUD_READERS, "GET", "/users/{user}/application_credentials", None),
    (CLOUD_READERS, CLOUD_READERS, "GET", "/users/{user}/application_credentials/none", None),
]
_ACTORS = ("users/{user}", "groups/{group}")
ALONE: list[tuple[frozenset[str], str, str, Any]] = [
    (READERS, "GET", "/users", None),
    (READERS, "GET", "/groups", None),
    (READERS, "GET", "/projects", None),
    (READERS, "GET", "/domains", None),
    (READERS, "GET", "/role_assignments", None),
    (READERS_OF_ALL | {"domain-manager"}, "GET", "/roles", None),
    (READERS_OF_ALL | {"domain-manager", "project-manager"}, "GET", "/roles/{reader}", None),
    (READERS_OF_ALL, "GET", "/roles/{admin}", None),
    (CLOUD_ADMINS, "POST", "/roles", {"role": {"name": "twin"}}),
    (CLOUD_ADMINS, "PATCH", "/roles/{service}", {"role": {"description": "d"}}),
    (CLOUD_ADMINS, "DELETE", "/roles/none", None),
    (CLOUD_READERS, "GET", "/role_inferences", None),
    (CLOUD_READERS, "GET", "/roles/{admin}/implies", None),
    (CLOUD_READERS, "GET", "/roles/{member}/implies/{reader}", None),
    (CLOUD_ADMINS, "PUT", "/roles/{member}/implies/{reader}", None),
    (CLOUD_ADMINS, "DELETE", "/roles/{reader}/implies/{service}", None),
    (CLOUD_ADMINS, "POST", "/domains", {"domain": {"name": "twin"}}),
    (CLOUD_ADMINS, "DELETE", "/domains/none", None),
    (EVERYBODY, "GET", "/regions", None),
    (EVERYBODY, "GET", "/regions/RegionOne", None),
    (CLOUD_ADMINS, "POST", "/regions", {"region": {}}),
    (CLOUD_ADMINS, "PUT", "/regions/RegionOne", {"region": {}}),
    (CLOUD_ADMINS, "PATCH", "/regions/RegionOne", {"region": {"description": ""}}),
    (CLOUD_ADMINS, "DELETE", "/regions/none", None),
    (CLOUD_READERS, "GET", "/services", None),
    (CLOUD_READERS, "GET", "/services/none", None),
    (CLOUD_ADMINS, "POST", "/services", {"service": {"type": "t"}}),
    (CLOUD_ADMINS, "PATCH", "/services/none", {"service": {"enabled": True}}),
    (CLOUD_ADMINS, "DELETE", "/services/none", None),
    (CLOUD_READERS, "GET", "/endpoints", None),
    (CLOUD_READERS, "GET", "/endpoints/none", None),
    (
        CLOUD_ADMINS,
        "POST",
        "/endpoints",
        {"endpoint": {"service_id": "none", "interface": "public", "url": "http://x"}},
    ),
    (CLOUD_ADMINS, "PATCH", "/endpoints/none", {"endpoint": {"enabled": True}}),
    (CLOUD_ADMINS, "DELETE", "/endpoints/none", None),
    (CLOUD_READERS, "GET", "/system/users/{user}/roles", None),
    (CLOUD_READERS, "GET", "/system/groups/{group}/roles", None),
    *((CLOUD_READERS, "HEAD", f"/system/{actor}/roles/{{reader}}", None) for actor in _ACTORS),
    *((CLOUD_ADMINS, "PUT", f"/system/{actor}/roles/{{reader}}", None) for actor in _ACTORS),
    *((CLOUD_ADMINS, "DELETE", f"/system/{actor}/roles/{{reader}}", None) for actor in _ACTORS),
    (PROJECTS, "GET", "/auth/catalog", None),
    (EVERYBODY, "GET", "/auth/projects", None),
    (EVERYBODY, "GET", "/auth/domains", None),
    (EVERYBODY, "GET", "/auth/system", None),
    # of one's own
    (EVERYBODY, "GET", "/users/{me}", None),
    (EVERYBODY, "GET", "/users/{me}/projects", None),
    (EVERYBODY, "GET", "/users/{me}/groups", None),
    (MANAGERS, "PATCH", "/users/{me}", {"user": {"description": "d"}}),
    (PROJECTS | READERS, "GET", "/projects/{mine}", None),
    (READERS, "GET", "/role_assignments?user.id={me}", None),
    (READERS, "GET", "/projects/{mine}/users/{me}/roles", None),
    (READERS, "HEAD", "/groups/{group}/users/{me}", None),
    (NO_DOMAINS, "GET", "/users/{me}/application_credentials", None),
    (PROJECTS | {"unscoped"}, "POST", "/users/{me}/application_credentials", {"application_credential": {"name": "c"}}),
    (NO_DOMAINS, "DELETE", "/users/{me}/application_credentials/none", None),
]


class Cast:
    """A cloud with a domain `home`, another, and something of each kind in both; the callers are told by name."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.home: dict[str, str] = {}
        self.other: dict[str, str] = {}
        self.callers: dict[str, Context] = {}

    def context(self, name: str) -> Context:
        """Return who a caller is."""
        me, mine, home = self.home["me"], self.home["mine"], self.home["domain"]
        who = Context(request_id="", user_id=me, user_name="me", user_domain_id=home)
        kind, _, role = name.partition("-")
        if kind == "project":
            who = replace(who, project_id=mine, project_name="mine", project_domain_id=home)
        elif kind == "domain":
            who = replace(who, domain_id=home)
        elif kind == "system":
            who = replace(who, system=True)
        return replace(who, roles=_IMPLIED[role] if role else frozenset())

    async def may(self, name: str, method: str, path: str, body: Any, things: dict[str, str]) -> bool:
        """Say whether a caller is let through; what then comes of it is no matter, but no server's fault."""
        if body:
            (noun, fields), *_ = body.items()
            if isinstance(fields, dict):
                body = {noun: {key: _filled(value, things) for key, value in fields.items()}}
        reply = await self.http.request(
            method, f"/identity/v3{path.format(**things)}", json=body, headers={"x-auth-token": name}
        )
        assert reply.status_code < 500
        assert reply.status_code != 401
        return reply.status_code != 403


def _filled(value: Any, things: dict[str, str]) -> Any:
    return value.format(**things) if isinstance(value, str) else value


@pytest.fixture
async def cast(place: Place) -> AsyncIterator[Cast]:
    admin = await place.token()
    roles = {role["name"]: role["id"] for role in (await place.call(admin, "GET", "/roles")).json()["roles"]}
    found: list[Cast] = []

    async def by_name(_cloud: Cloud, token: str, request_id: str) -> Context:
        if token not in EVERYBODY:
            raise Unauthenticated("no such caller")
        return replace(found[0].context(token), request_id=request_id)

    app = App(place.cloud, surfaces=[SURFACE], authenticate=by_name)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test:8774") as http:
        found.append(Cast(http))
        for where in ("home", "other"):
            domain = (await place.make(admin, "domain", name=where))["id"]
            things = {"domain": domain, **roles}
            for noun, name in (("project", "p"), ("user", "u"), ("group", "g"), ("project", "mine"), ("user", "me")):
                made = await place.make(admin, noun, name=name, domain_id=domain)
                things[noun if len(name) == 1 else name] = made["id"]
            await place.call(admin, "PUT", f"/projects/{things['project']}/tags/t")
            setattr(found[0], where, things)
        yield found[0]


async def test_every_kind_of_token_may_do_what_keystone_lets_it(cast: Cast) -> None:
    wrong = []
    for name in sorted(EVERYBODY):
        for here, there, method, path, body in RULES:
            for allowed, things in ((here, cast.home), (there, cast.other)):
                if await cast.may(name, method, path, body, things) != (name in allowed):
                    wrong.append((name, method, path, things["domain"] == cast.home["domain"]))
        for allowed, method, path, body in ALONE:
            if await cast.may(name, method, path, body, cast.home) != (name in allowed):
                wrong.append((name, method, path, True))
    assert wrong == []


async def test_the_rules_above_are_about_every_route_with_a_policy(cast: Cast) -> None:
    """But for tokens themselves, versions, and the password that proves who changes it."""
    tried = {(method, path) for _, _, method, path, _ in RULES} | {(method, path) for _, method, path, _ in ALONE}
    policies = set()
    for method, path in tried:
        match = SURFACE.table.match("/v3" + path.partition("?")[0].format(**cast.home))
        assert match is not None
        policies.add(match.routes.get(method, match.routes.get("GET", []))[0].policy)
    left = set(SURFACE.policies) - policies
    assert left == {
        "identity:authenticate",
        "identity:change_password",
        "identity:check_token",
        "identity:get_versions",
        "identity:revoke_token",
        "identity:validate_token",
    }


async def test_a_token_of_a_domain_lists_what_is_in_it_even_for_administrators(cast: Cast) -> None:
    for name in ("domain-reader", "domain-admin"):
        for noun in ("users", "groups", "projects", "domains"):
            reply = await cast.http.get(f"/identity/v3/{noun}", headers={"x-auth-token": name})
            domains = {item.get("domain_id", item["id"]) for item in reply.json()[noun]}
            assert domains == {cast.home["domain"]}, (name, noun)


async def test_a_role_is_given_by_a_manager_only_within_the_domain(cast: Cast) -> None:
    path = f"/projects/{cast.home['project']}/users/{cast.other['user']}/roles/{cast.home['reader']}"
    assert not await cast.may("domain-manager", "PUT", path, None, {})
    assert await cast.may("domain-admin", "PUT", path, None, {})


async def test_nothing_but_logging_in_and_versions_goes_without_a_token(cast: Cast) -> None:
    for path in ("/regions", "/regions/RegionOne", "/services", "/auth/projects", "/auth/catalog", "/domains"):
        assert (await cast.http.get(f"/identity/v3{path}")).status_code == 401, path
