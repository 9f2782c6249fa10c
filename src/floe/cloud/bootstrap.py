"""The first start: what a cloud needs before anybody can log in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise

import msgspec

from floe.cloud import catalogue, identity, passwords
from floe.cloud.cloud import Cloud
from floe.core.assignments import DOMAIN, PROJECT, SYSTEM, USER, WHOLE_SYSTEM, Assignment
from floe.core.catalogue import INTERFACES, CatalogueService, Endpoint, Region
from floe.core.context import Context
from floe.core.domains import DEFAULT_DOMAIN, Domain
from floe.core.ids import derived
from floe.core.projects import Project
from floe.core.roles import Role
from floe.core.users import User
from floe.store import assignments as assignment_rows
from floe.store import catalogue as catalogue_rows
from floe.store import domains as domain_rows
from floe.store import groups as group_rows
from floe.store import names
from floe.store import projects as project_rows
from floe.store import roles as role_rows
from floe.store import users as user_rows
from floe.store.engine import Connection

_NAMED = (domain_rows.domains, group_rows.groups, project_rows.projects, role_rows.roles, user_rows.users)
_ROLES = ("admin", "manager", "member", "reader")
"""Each implies the next, as Keystone sets them up."""

_SERVICES = (
    ("identity", "keystone", "/identity"),
    ("compute", "nova", "/compute/v2.1"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
    ("placement", "placement", "/placement"),
)
"""Type, the name that OpenStack gives it, and its path below the public URL."""


class Bootstrapped(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of what is there from the first start, None for what has been removed since.

    The passwords are those just made, and None on every later start.
    """

    admin_password: str | None = None
    demo_password: str | None = None
    admin_user_id: str | None
    admin_project_id: str | None
    demo_user_id: str | None
    demo_project_id: str | None


async def bootstrap(cloud: Cloud, new_password: Callable[[], str]) -> Bootstrapped:
    """Make domain, roles, users, projects and catalogue in one transaction; later, only services that are new.

    What an administrator removed or renamed since the first start does not come back.
    """
    started, complete, stale = await cloud.db.read(
        lambda conn: (
            domain_rows.get(conn, DEFAULT_DOMAIN) is not None,
            not _missing_services(conn),
            any(names.stale(conn, table) for table in _NAMED),
        )
    )
    if stale:
        await identity.change(cloud, _refold)
    if started:
        if not complete:
            seed = cloud.new_id()
            await identity.change(cloud, lambda conn: _add_services(conn, cloud.settings.region, seed))
        return await cloud.db.read(_known)
    admin_password, demo_password = new_password(), new_password()
    nobody, seed, now = Context(request_id=""), cloud.new_id(), cloud.clock.now()
    admin_hash = await passwords.hashed(cloud, nobody, admin_password)
    demo_hash = await passwords.hashed(cloud, nobody, demo_password)

    def run(conn: Connection) -> Bootstrapped:
        if domain_rows.get(conn, DEFAULT_DOMAIN) is not None:
            return _known(conn)  # another process starts too, and was first
        domain_rows.insert(conn, Domain(id=DEFAULT_DOMAIN, name="Default", description="The default domain"))
        role_ids = _add_roles(conn, seed)
        admin, admin_project = _add_user(conn, "admin", admin_hash, "For administrators", seed, now)
        demo, demo_project = _add_user(conn, "demo", demo_hash, "For trying things out", seed, now)
        for user_id, role, kind, target in (
            (admin, "admin", PROJECT, admin_project),
            (admin, "admin", DOMAIN, DEFAULT_DOMAIN),
            (admin, "admin", SYSTEM, WHOLE_SYSTEM),
            (demo, "member", PROJECT, demo_project),
        ):
            assignment_rows.insert(
                conn,
                Assignment(
                    role_id=role_ids[role], actor_kind=USER, actor_id=user_id, target_kind=kind, target_id=target
                ),
            )
        _add_services(conn, cloud.settings.region, seed)
        return Bootstrapped(
            admin_password=admin_password,
            demo_password=demo_password,
            admin_user_id=admin,
            admin_project_id=admin_project,
            demo_user_id=demo,
            demo_project_id=demo_project,
        )

    return await identity.change(cloud, run)


def _refold(conn: Connection) -> None:
    for table in _NAMED:
        names.refold(conn, table)


def _known(conn: Connection) -> Bootstrapped:
    users = {name: user_rows.called(conn, name, domain_id=DEFAULT_DOMAIN) for name in ("admin", "demo")}
    projects = {name: project_rows.called(conn, name, domain_id=DEFAULT_DOMAIN) for name in ("admin", "demo")}
    user_ids = {name: user.id if user else None for name, user in users.items()}
    project_ids = {name: project.id if project else None for name, project in projects.items()}
    return Bootstrapped(
        admin_user_id=user_ids["admin"],
        admin_project_id=project_ids["admin"],
        demo_user_id=user_ids["demo"],
        demo_project_id=project_ids["demo"],
    )


def _add_roles(conn: Connection, seed: str) -> dict[str, str]:
    ids = {name: _id(seed, f"role {name}") for name in (*_ROLES, "service")}
    for name, role_id in ids.items():
        role_rows.insert(conn, Role(id=role_id, name=name))
    for prior, implied in pairwise(_ROLES):
        role_rows.imply(conn, ids[prior], ids[implied])
    return ids


def _add_user(conn: Connection, name: str, password_hash: str, text: str, seed: str, now: datetime) -> tuple[str, str]:
    project = Project(id=_id(seed, f"project {name}"), domain_id=DEFAULT_DOMAIN, name=name, description=text)
    user = User(
        id=_id(seed, f"user {name}"),
        domain_id=DEFAULT_DOMAIN,
        name=name,
        default_project_id=project.id,
        password_hash=password_hash,
        password_changed_at=now,
    )
    project_rows.insert(conn, project)
    user_rows.insert(conn, user)
    return user.id, project.id


def _id(seed: str, what: str) -> str:
    return derived(seed, what).replace("-", "")


def _missing_services(conn: Connection) -> list[tuple[str, str, str]]:
    there = {service.type for service in catalogue_rows.SERVICES.those(conn)}
    return [service for service in _SERVICES if service[0] not in there]


def _add_services(conn: Connection, region: str, seed: str) -> None:
    if region not in catalogue.load(conn).regions:
        catalogue_rows.REGIONS.insert(conn, Region(id=region))
    for kind, name, path in _missing_services(conn):
        service = CatalogueService(id=_id(seed, f"service {kind}"), type=kind, name=name)
        catalogue_rows.SERVICES.insert(conn, service)
        for interface in INTERFACES:
            catalogue_rows.ENDPOINTS.insert(
                conn,
                Endpoint(
                    id=_id(seed, f"endpoint {kind} {interface}"),
                    service_id=service.id,
                    region_id=region,
                    interface=interface,
                    url=f"%(public_url)s{path}",
                ),
            )
