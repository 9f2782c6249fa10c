"""Who may do what with images, by the rule names of the image API."""

from __future__ import annotations

from floe.api.kit.policy import Policies, project_member, public, reader
from floe.core.context import Context


def _reads(context: Context) -> bool:
    return context.is_admin or reader(context)


def _changes(context: Context) -> bool:
    return context.is_admin or project_member(context)


def _administers(context: Context) -> bool:
    return context.is_admin


POLICIES: Policies = {
    "versions": public,
    "get_schema": _reads,
    "get_image": _reads,
    "get_images": _reads,
    "add_image": _changes,
    "modify_image": _changes,
    "delete_image": _changes,
    "publicize_image": _administers,
    "communitize_image": _changes,
    "download_image": _reads,
    "upload_image": _changes,
    "deactivate": _changes,
    "reactivate": _changes,
    "add_member": _changes,
    "delete_member": _changes,
    "modify_member": _changes,
    "get_member": _reads,
    "get_members": _reads,
    "stores_info": _reads,
    "import_info": _reads,
}
