"""The action that starts a guest again which another one turned off in vain."""

from __future__ import annotations

import msgspec

from floe.core import guest_actions
from floe.core.actions import Action
from floe.core.given import PowerGiven


def started_again(ident: str, action: Action, given: PowerGiven) -> Action:
    """Return what starts the guest of an action's server, for whoever asked for that action.

    It has a request of its own, for by its request an action is shown, with the reason why it failed.
    """
    begins = guest_actions.START.begins
    return Action(
        id=ident,
        kind=begins.kind,
        version=begins.version,
        subject_id=action.subject_id,
        project_id=action.project_id,
        user_id=action.user_id,
        request_id=f"req-{ident}",
        input=msgspec.to_builtins(given),
        created_at=action.created_at,
    )
