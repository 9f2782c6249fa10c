"""Who may do what with images, by the rule names of the image API: its rules are for tokens of a project alone."""

from __future__ import annotations

from floe.api.kit.policy import Policies, authenticated, public
from floe.core.context import Context


def _reads(context: Context) -> bool:
    return context.project_id is not None and (context.is_admin or "reader" in context.roles)


def _changes(context: Context) -> bool:
    return context.project_id is not None and (context.is_admin or "member" in context.roles)


def _administers(context: Context) -> bool:
    return context.project_id is not None and context.is_admin


POLICIES: Policies = {
    "versions": public,
    "get_schema": authenticated,
    "get_image": _reads,
    "get_images": _reads,
    "add_image": _changes,
    "modify_image": _changes,
    "delete_image": _changes,
    "publicize_image": _administers,
    "communitize_image": _changes,
    "download_image": _changes,
    "upload_image": _changes,
    "deactivate": _changes,
    "reactivate": _changes,
    "add_member": _changes,
    "delete_member": _changes,
    "modify_member": _changes,
    "get_member": _reads,
    "get_members": _reads,
    "get_usage": _reads,
    "stores_info": authenticated,
    "import_info": authenticated,
}
