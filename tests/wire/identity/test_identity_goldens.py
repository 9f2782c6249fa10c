"""What the identity surface says, to the letter. `FLOE_WRITE_GOLDENS=1` writes the replies anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx

from floe.api.identity.surface import SURFACE

GOLDENS = Path(__file__).parent / "goldens"
DEFAULT = {"id": "default"}


def _password(user: str, **scope: object) -> dict[str, Any]:
    who = {"name": user, "domain": DEFAULT, "password": f"{user}-secret"}
    identity = {"methods": ["password"], "password": {"user": who}}
    return {"auth": {"identity": identity, **({"scope": scope} if scope else {})}}


def _credential(secret: str) -> dict[str, Any]:
    part = {"name": "robot", "user": {"name": "demo", "domain": DEFAULT}, "secret": secret}
    return {"auth": {"identity": {"methods": ["application_credential"], "application_credential": part}}}


ROBOT = {"name": "robot", "secret": "robot-secret", "roles": [{"name": "reader"}], "expires_at": "2031-01-01T00:00:00"}

# Name, who asks, method, path, body. `{name}` stands for the id in the reply of that name.
EXCHANGES: list[tuple[str, str, str, str, Any]] = [
    ("versions", "", "GET", "/", None),
    ("version", "", "GET", "/v3", None),
    ("unknown", "", "GET", "/v2.0/tokens", None),
    ("no-token", "", "GET", "/v3/users", None),
    ("token-project", "", "POST", "/v3/auth/tokens", _password("demo", project={"name": "demo", "domain": DEFAULT})),
    ("token-domain", "", "POST", "/v3/auth/tokens?nocatalog", _password("admin", domain=DEFAULT)),
    ("token-system", "", "POST", "/v3/auth/tokens?nocatalog", _password("admin", system={"all": True})),
    ("token-unscoped", "", "POST", "/v3/auth/tokens", _password("demo", unscoped={})),
    ("token-refused", "", "POST", "/v3/auth/tokens", _password("nobody")),
    ("token-no-role", "", "POST", "/v3/auth/tokens", _password("demo", domain=DEFAULT)),
    ("token-invalid", "", "POST", "/v3/auth/tokens", {"auth": {"identity": {"methods": ["saml2"]}}}),
    ("token-show", "admin", "GET", "/v3/auth/tokens?nocatalog", None),
    ("token-check", "admin", "HEAD", "/v3/auth/tokens", None),
    ("auth-projects", "demo", "GET", "/v3/auth/projects", None),
    ("auth-domains", "admin", "GET", "/v3/auth/domains", None),
    ("auth-system", "admin", "GET", "/v3/auth/system", None),
    ("auth-system-none", "demo", "GET", "/v3/auth/system", None),
    ("auth-catalog", "demo", "GET", "/v3/auth/catalog", None),
    ("domain", "admin", "POST", "/v3/domains", {"domain": {"name": "branch", "description": "Far away"}}),
    ("domain-list", "admin", "GET", "/v3/domains", None),
    ("domain-show", "admin", "GET", "/v3/domains/{domain}", None),
    ("domain-enabled", "admin", "DELETE", "/v3/domains/{domain}", None),
    ("project", "admin", "POST", "/v3/projects", {"project": {"name": "web", "tags": ["a"]}}),
    ("project-exists", "admin", "POST", "/v3/projects", {"project": {"name": "web"}}),
    ("project-forbidden", "demo", "POST", "/v3/projects", {"project": {"name": "mine"}}),
    ("project-list", "admin", "GET", "/v3/projects?limit=1", None),
    ("project-show", "admin", "GET", "/v3/projects/{project}", None),
    ("project-tags", "admin", "GET", "/v3/projects/{project}/tags", None),
    ("project-tags-set", "admin", "PUT", "/v3/projects/{project}/tags", {"tags": ["b", "c"]}),
    ("project-tag-add", "admin", "PUT", "/v3/projects/{project}/tags/d", None),
    ("project-tag", "admin", "HEAD", "/v3/projects/{project}/tags/d", None),
    ("project-tag-none", "admin", "GET", "/v3/projects/{project}/tags/e", None),
    ("project-tag-delete", "admin", "DELETE", "/v3/projects/{project}/tags/d", None),
    ("project-tags-delete", "admin", "DELETE", "/v3/projects/{project}/tags", None),
    ("project-update", "admin", "PATCH", "/v3/projects/{project}", {"project": {"description": "Shop"}}),
    ("user", "admin", "POST", "/v3/users", {"user": {"name": "ann", "password": "ann-secret", "email": "a@b.c"}}),
    ("user-list", "admin", "GET", "/v3/users?name=ann", None),
    ("user-show", "admin", "GET", "/v3/users/{user}", None),
    ("user-update", "admin", "PATCH", "/v3/users/{user}", {"user": {"default_project_id": "{project}"}}),
    ("user-property", "admin", "PATCH", "/v3/users/{user}", {"user": {"colour": "red", "size": None}}),
    ("user-read-only", "admin", "PATCH", "/v3/users/{user}", {"user": {"id": "me"}}),
    (
        "user-password", "", "POST", "/v3/users/{user}/password",
        {"user": {"original_password": "ann-secret", "password": "next-secret"}},
    ),
    ("group", "admin", "POST", "/v3/groups", {"group": {"name": "team"}}),
    ("group-list", "admin", "GET", "/v3/groups", None),
    ("group-show", "admin", "GET", "/v3/groups/{group}", None),
    ("group-update", "admin", "PATCH", "/v3/groups/{group}", {"group": {"description": "All"}}),
    ("member-add", "admin", "PUT", "/v3/groups/{group}/users/{user}", None),
    ("member-check", "admin", "HEAD", "/v3/groups/{group}/users/{user}", None),
    ("member-list", "admin", "GET", "/v3/groups/{group}/users", None),
    ("user-groups", "admin", "GET", "/v3/users/{user}/groups", None),
    ("role", "admin", "POST", "/v3/roles", {"role": {"name": "operator"}}),
    ("role-second", "admin", "POST", "/v3/roles", {"role": {"name": "watcher"}}),
    ("role-list", "admin", "GET", "/v3/roles?name=operator", None),
    ("role-show", "admin", "GET", "/v3/roles/{role}", None),
    ("role-update", "admin", "PATCH", "/v3/roles/{role}", {"role": {"description": "On call"}}),
    ("imply", "admin", "PUT", "/v3/roles/{role}/implies/{role-second}", None),
    ("implied", "admin", "GET", "/v3/roles/{role}/implies/{role-second}", None),
    ("implied-check", "admin", "HEAD", "/v3/roles/{role}/implies/{role-second}", None),
    ("implied-list", "admin", "GET", "/v3/roles/{role}/implies", None),
    ("implied-circle", "admin", "PUT", "/v3/roles/{role-second}/implies/{role}", None),
    ("inferences", "admin", "GET", "/v3/role_inferences", None),
    ("grant", "admin", "PUT", "/v3/projects/{project}/groups/{group}/roles/{role}", None),
    ("grant-check", "admin", "HEAD", "/v3/projects/{project}/groups/{group}/roles/{role}", None),
    ("grant-list", "admin", "GET", "/v3/projects/{project}/groups/{group}/roles", None),
    ("user-projects", "admin", "GET", "/v3/users/{user}/projects", None),
    ("assignments", "admin", "GET", "/v3/role_assignments?role.id={role}", None),
    ("assignments-wide", "admin", "GET", "/v3/role_assignments?user.id={user}&effective&include_names", None),
    ("grant-user-project", "admin", "PUT", "/v3/projects/{project}/users/{user}/roles/{role}", None),
    ("grant-user-domain", "admin", "PUT", "/v3/domains/default/users/{user}/roles/{role}", None),
    ("grant-group-domain", "admin", "PUT", "/v3/domains/default/groups/{group}/roles/{role}", None),
    ("grant-user-system", "admin", "PUT", "/v3/system/users/{user}/roles/{role}", None),
    ("grant-group-system", "admin", "PUT", "/v3/system/groups/{group}/roles/{role}", None),
    ("list-user-project", "admin", "GET", "/v3/projects/{project}/users/{user}/roles", None),
    ("list-user-domain", "admin", "GET", "/v3/domains/default/users/{user}/roles", None),
    ("list-group-domain", "admin", "GET", "/v3/domains/default/groups/{group}/roles", None),
    ("list-user-system", "admin", "GET", "/v3/system/users/{user}/roles", None),
    ("list-group-system", "admin", "GET", "/v3/system/groups/{group}/roles", None),
    ("check-user-project", "admin", "GET", "/v3/projects/{project}/users/{user}/roles/{role}", None),
    ("check-user-domain", "admin", "GET", "/v3/domains/default/users/{user}/roles/{role}", None),
    ("check-group-domain", "admin", "GET", "/v3/domains/default/groups/{group}/roles/{role}", None),
    ("check-user-system", "admin", "GET", "/v3/system/users/{user}/roles/{role}", None),
    ("check-group-system", "admin", "GET", "/v3/system/groups/{group}/roles/{role}", None),
    ("revoke-user-project", "admin", "DELETE", "/v3/projects/{project}/users/{user}/roles/{role}", None),
    ("revoke-user-domain", "admin", "DELETE", "/v3/domains/default/users/{user}/roles/{role}", None),
    ("revoke-group-domain", "admin", "DELETE", "/v3/domains/default/groups/{group}/roles/{role}", None),
    ("revoke-user-system", "admin", "DELETE", "/v3/system/users/{user}/roles/{role}", None),
    ("revoke-group-system", "admin", "DELETE", "/v3/system/groups/{group}/roles/{role}", None),
    ("revoke", "admin", "DELETE", "/v3/projects/{project}/groups/{group}/roles/{role}", None),
    ("revoke-again", "admin", "DELETE", "/v3/projects/{project}/groups/{group}/roles/{role}", None),
    (
        "inherited", "admin", "PUT",
        "/v3/OS-INHERIT/domains/default/users/{user}/roles/{role}/inherited_to_projects", None,
    ),
    (
        "inherited-show", "admin", "GET",
        "/v3/OS-INHERIT/domains/default/users/{user}/roles/{role}/inherited_to_projects", None,
    ),
    (
        "inherited-delete", "admin", "DELETE",
        "/v3/OS-INHERIT/domains/default/users/{user}/roles/{role}/inherited_to_projects", None,
    ),
    ("credential", "demo", "POST", "/v3/users/{me}/application_credentials", {"application_credential": ROBOT}),
    ("credential-list", "demo", "GET", "/v3/users/{me}/application_credentials", None),
    ("credential-show", "demo", "GET", "/v3/users/{me}/application_credentials/{credential}", None),
    ("credential-other", "demo", "GET", "/v3/users/{user}/application_credentials", None),
    ("token-credential", "", "POST", "/v3/auth/tokens?nocatalog", _credential("robot-secret")),
    ("token-credential-refused", "", "POST", "/v3/auth/tokens", _credential("wrong")),
    ("credential-delete", "demo", "DELETE", "/v3/users/{me}/application_credentials/{credential}", None),
    ("region", "admin", "POST", "/v3/regions", {"region": {"id": "North"}}),
    ("region-put", "admin", "PUT", "/v3/regions/South", {"region": {"description": "Warm"}}),
    ("region-list", "demo", "GET", "/v3/regions", None),
    ("region-show", "demo", "GET", "/v3/regions/North", None),
    ("region-update", "admin", "PATCH", "/v3/regions/North", {"region": {"description": "Cold"}}),
    ("service", "admin", "POST", "/v3/services", {"service": {"type": "dns", "name": "designate"}}),
    ("service-list", "admin", "GET", "/v3/services?type=dns", None),
    ("service-show", "admin", "GET", "/v3/services/{service}", None),
    ("service-update", "admin", "PATCH", "/v3/services/{service}", {"service": {"description": "Names"}}),
    (
        "endpoint", "admin", "POST", "/v3/endpoints",
        {"endpoint": {
            "service_id": "{service}", "interface": "public", "region_id": "North", "url": "%(public_url)s/dns",
        }},
    ),
    ("endpoint-list", "admin", "GET", "/v3/endpoints?service_id={service}", None),
    ("endpoint-show", "admin", "GET", "/v3/endpoints/{endpoint}", None),
    ("endpoint-update", "admin", "PATCH", "/v3/endpoints/{endpoint}", {"endpoint": {"enabled": False}}),
    ("endpoint-delete", "admin", "DELETE", "/v3/endpoints/{endpoint}", None),
    ("service-delete", "admin", "DELETE", "/v3/services/{service}", None),
    ("region-delete", "admin", "DELETE", "/v3/regions/North", None),
    ("stop-implying", "admin", "DELETE", "/v3/roles/{role}/implies/{role-second}", None),
    ("role-delete", "admin", "DELETE", "/v3/roles/{role}", None),
    ("member-remove", "admin", "DELETE", "/v3/groups/{group}/users/{user}", None),
    ("group-delete", "admin", "DELETE", "/v3/groups/{group}", None),
    ("user-delete", "admin", "DELETE", "/v3/users/{user}", None),
    ("project-delete", "admin", "DELETE", "/v3/projects/{project}", None),
    ("domain-update", "admin", "PATCH", "/v3/domains/{domain}", {"domain": {"enabled": False}}),
    ("domain-delete", "admin", "DELETE", "/v3/domains/{domain}", None),
    ("token-revoke", "demo", "DELETE", "/v3/auth/tokens", None),
    ("token-revoked", "demo", "GET", "/v3/auth/projects", None),
]  # fmt: skip


def _filled(value: Any, ids: dict[str, str]) -> Any:
    text = json.dumps(value)
    for name, ident in ids.items():
        text = text.replace("{" + name + "}", ident)
    return json.loads(text)


async def _play(client: httpx.AsyncClient) -> dict[str, Any]:
    tokens: dict[str, str] = {"": ""}
    ids: dict[str, str] = {}
    for user in ("admin", "demo"):
        reply = await client.post("/v3/auth/tokens", json=_password(user))
        tokens[user] = reply.headers["x-subject-token"]
        ids["me"] = reply.json()["token"]["user"]["id"]
    said: dict[str, Any] = {}
    for name, who, method, path, body in EXCHANGES:
        headers = {"x-auth-token": tokens[who], "x-subject-token": tokens[who]} if who else {}
        filled = _filled(body, ids) if body is not None else None
        reply = await client.request(method, _filled(path, ids), json=filled, headers=headers)
        answer = reply.json() if reply.content else None
        said[name] = {"status": reply.status_code, "body": answer}
        if reply.status_code == 201 and answer and name in answer:
            ids[name] = answer[name]["id"]
        elif reply.status_code == 201 and isinstance(answer, dict):
            (thing,) = [value for key, value in answer.items() if key != "links"]
            ids[name] = thing.get("id", "")
    return said


async def test_every_reply_is_as_it_was(identity_wire: httpx.AsyncClient) -> None:
    said = await _play(identity_wire)
    if os.environ.get("FLOE_WRITE_GOLDENS"):
        for name, reply in said.items():
            (GOLDENS / f"{name}.json").write_text(json.dumps(reply, indent=2) + "\n")
    kept = {path.stem: json.loads(path.read_text()) for path in GOLDENS.glob("*.json")}
    assert sorted(said) == sorted(kept)
    for name, reply in said.items():
        assert reply == kept[name], name


def test_every_route_has_a_golden() -> None:
    ids = {name: "x" for name, *_ in EXCHANGES} | {"me": "x"}
    reached = set()
    for _, _, method, path, _ in EXCHANGES:
        match = SURFACE.table.match(_filled(path, ids).split("?")[0])
        if match is not None:
            known = "GET" if method == "HEAD" and "HEAD" not in match.routes else method
            reached |= {(route.method, route.path) for route in match.routes.get(known, [])}
    assert {(route.method, route.path) for route in SURFACE.routes} - reached == set()
