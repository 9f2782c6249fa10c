"""What goes with a user or a project that is removed: all rows that say something about it alone."""

from __future__ import annotations

from floe.store import application_credentials, flavors, groups, keypairs, quotas, user_quotas, users
from floe.store.engine import Connection


def user(conn: Connection, user_id: str) -> None:
    """Remove a user's application credentials, key pairs and memberships."""
    application_credentials.forget_user(conn, user_id)
    keypairs.forget_user(conn, user_id)
    groups.leave_all(conn, user_id)
    user_quotas.forget_user(conn, user_id)


def project(conn: Connection, project_id: str) -> None:
    """Remove the application credentials that act in a project, its quotas and its access to flavors."""
    application_credentials.forget_project(conn, project_id)
    users.forget_default_project(conn, project_id)
    quotas.forget_project(conn, project_id)
    user_quotas.forget_project(conn, project_id)
    flavors.forget_project(conn, project_id)
