"""What goes with a user or a project that is removed: all rows that say something about it alone."""

from __future__ import annotations

from floe.store import application_credentials, flavors, groups, keypairs, projects, quotas, users
from floe.store.engine import Connection


def user(conn: Connection, user_id: str) -> None:
    """Remove a user with its application credentials, key pairs and memberships."""
    application_credentials.forget_user(conn, user_id)
    for keypair in keypairs.listed(conn, user_id, after=None, limit=-1):
        keypairs.delete(conn, user_id, keypair.name)
    groups.leave_all(conn, user_id)
    users.delete(conn, user_id)


def project(conn: Connection, project_id: str) -> None:
    """Remove a project with the application credentials that act in it, its quotas and its access to flavors."""
    application_credentials.forget_project(conn, project_id)
    users.forget_default_project(conn, project_id)
    quotas.forget_project(conn, project_id)
    flavors.forget_project(conn, project_id)
    projects.delete(conn, project_id)
