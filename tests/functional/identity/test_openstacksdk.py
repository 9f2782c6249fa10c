"""The real client library against the real server on the loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import openstack
import pytest
import uvicorn
from keystoneauth1 import exceptions, session
from keystoneauth1.identity import v3
from msgspec.structs import replace

from floe.api.app import App
from floe.api.identity.surface import SURFACE

from .conftest import Place

# The library warns of its own plans for its own options.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@pytest.fixture
async def url(place: Place) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = replace(place.cloud.settings, public_url=url)
    app = App(replace(place.cloud, settings=settings), surfaces=(SURFACE,))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield url
    finally:
        server.should_exit = True
        await serving
        listener.close()


def _session(url: str, **auth: Any) -> session.Session:
    return session.Session(auth=v3.Password(auth_url=f"{url}/identity", **auth))


def _cloud(url: str, user: str, password: str, **scope: Any) -> openstack.connection.Connection:
    return openstack.connect(
        auth_url=f"{url}/identity",
        username=user,
        password=password,
        user_domain_name="Default",
        region_name="RegionOne",
        load_yaml_config=False,
        load_envvars=False,
        **scope,
    )


async def _in_thread(fn: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(fn)


@pytest.mark.parametrize("path", ["/identity", "/identity/", "/identity/v3", "/identity/v3/"])
async def test_discovery_finds_version_3_from_every_url_people_write(url: str, path: str) -> None:
    def run() -> str | None:
        auth = v3.Password(
            auth_url=f"{url}{path}", username="demo", password="demo-secret", user_domain_id="default", unscoped=True
        )
        with_session = session.Session(auth=auth)
        found: str | None = auth.get_discovery(with_session, f"{url}{path}").url_for("3")
        assert auth.get_token(with_session)
        return found

    assert (await _in_thread(run)).rstrip("/") == f"{url}/identity/v3"


async def test_a_client_finds_every_endpoint_in_the_catalogue(url: str) -> None:
    def run() -> list[str | None]:
        scoped = _session(
            url,
            username="demo",
            password="demo-secret",
            user_domain_name="Default",
            project_name="demo",
            project_domain_name="Default",
        )
        kinds = ("identity", "compute", "image", "network", "placement")
        return [scoped.auth.get_access(scoped).service_catalog.url_for(service_type=kind) for kind in kinds]

    paths = ("/identity", "/compute/v2.1", "/image", "/network", "/placement")
    assert await _in_thread(run) == [url + path for path in paths]


async def test_an_administrator_makes_a_project_with_a_user_in_it_who_then_logs_in(url: str) -> None:
    def run() -> tuple[str, str, set[str]]:
        scope = {"project_name": "admin", "project_domain_name": "Default"}
        with _cloud(url, "admin", "admin-secret", **scope) as admin:
            project = admin.identity.create_project(name="web", domain_id="default", description="Shop")
            user = admin.identity.create_user(name="ann", domain_id="default", password="ann-secret", email="a@b.c")
            role = admin.identity.find_role("member")
            admin.identity.assign_project_role_to_user(project, user, role)
            assert admin.identity.validate_user_has_project_role(project, user, role)
            assert [item.role["id"] for item in admin.identity.role_assignments(user_id=user.id)] == [role.id]
            assert admin.identity.find_user("ann").email == "a@b.c"
        with _cloud(url, "ann", "ann-secret", project_name="web", project_domain_name="Default") as ann:
            access = ann.session.auth.get_access(ann.session)
            made = ann.identity.create_application_credential(user=access.user_id, name="robot")
            assert made.secret
            assert [item.name for item in ann.identity.application_credentials(access.user_id)] == ["robot"]
            return project.id, access.project_id, set(access.role_names)

    project_id, seen, roles = await _in_thread(run)
    assert seen == project_id
    assert roles == {"member", "reader"}


async def test_the_system_scope_and_an_application_credential_work_from_the_client(url: str) -> None:
    def run() -> tuple[int, str]:
        with _cloud(url, "admin", "admin-secret", system_scope="all") as system:
            users = len(list(system.identity.users()))
            assert {service.type for service in system.identity.services()} >= {"compute", "image"}
            assert len(list(system.identity.endpoints())) == 15
        with _cloud(url, "demo", "demo-secret", project_name="demo", project_domain_name="Default") as demo:
            made = demo.identity.create_application_credential(user=demo.current_user_id, name="robot")
        auth = v3.ApplicationCredential(
            auth_url=f"{url}/identity",
            application_credential_id=made.id,
            application_credential_secret=made.secret,
        )
        return users, auth.get_access(session.Session()).username

    assert await _in_thread(run) == (2, "demo")


async def test_a_wrong_password_is_unauthorized_for_the_client(url: str) -> None:
    def run() -> None:
        wrong = _session(url, username="demo", password="wrong", user_domain_id="default", unscoped=True)
        with pytest.raises(exceptions.Unauthorized):
            wrong.get_token()

    await _in_thread(run)
