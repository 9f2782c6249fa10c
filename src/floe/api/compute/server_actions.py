"""POST /servers/{server_id}/action: power, console, lock, state, delete by force."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from msgspec import Meta

from floe.api.kit.body import Body, Field, either
from floe.api.kit.call import Call, Handler, Reply
from floe.api.kit.policy import admin, enforce, project_member
from floe.api.kit.routing import Route
from floe.api.kit.values import Digits, whole
from floe.cloud import server_power, soft_deletes
from floe.cloud import server_states as states
from floe.cloud import servers as cloud
from floe.core import guest_actions
from floe.core.guest_actions import OnGuest

_CONSOLE = Body("os-getConsoleOutput", (Field("length", int | either(Digits, "", "-1") | None),))
_LOCK = Body("lock", (Field("locked_reason", Annotated[str, Meta(min_length=1, max_length=255)]),))
_RESET = Body("os-resetState", (Field("state", Literal["active", "error"], required=True),))


_REBOOT = Body("reboot", (Field("type", Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"], required=True),))
_CRASH_DUMP = Body(None, (Field("trigger_crash_dump", None, required=True),))


async def console_output(call: Call) -> Reply:
    """os-getConsoleOutput: the last `length` lines, or all there is."""
    lines: int | None = None
    asked = _CONSOLE.read(await call.raw(), call.version).get("length")
    if asked not in {None, "", -1, "-1"}:
        lines = whole(asked, "length", 0, cut=True)
    text = await cloud.console_output(call.cloud, call.context, call.params["server_id"], lines)
    return Reply(200, {"output": text})


async def lock(call: Call) -> Reply:
    """Lock, since 2.73 with a reason; before that nobody looks at what comes with it."""
    reason = None
    if call.version >= (2, 73) and (await call.json())["lock"] is not None:
        reason = _LOCK.read(await call.raw(), call.version).get("locked_reason")
    await states.lock(call.cloud, call.context, call.params["server_id"], reason)
    return Reply(202)


async def unlock(call: Call) -> Reply:
    """Unlock; what the other side has locked, owner or administrator, by its own rule."""
    override = partial(enforce, POLICIES, _OVERRIDE, call.context)
    await states.unlock(call.cloud, call.context, call.params["server_id"], override)
    return Reply(202)


async def reset_state(call: Call) -> Reply:
    """os-resetState."""
    state = _RESET.read(await call.raw(), call.version)["state"]
    await states.reset(call.cloud, call.context, call.params["server_id"], active=state == "active")
    return Reply(202)


async def force_delete(call: Call) -> Reply:
    """forceDelete: at once, also what DELETE would put off."""
    await cloud.delete(call.cloud, call.context, call.params["server_id"])
    return Reply(202)


async def restore(call: Call) -> Reply:
    """Restore what DELETE put off."""
    await soft_deletes.restore(call.cloud, call.context, call.params["server_id"])
    return Reply(202)


async def reboot(call: Call) -> Reply:
    """Reboot: SOFT asks the guest to shut down first, HARD does not."""
    soft = _REBOOT.read(await call.raw(), call.version)["type"].upper() == "SOFT"
    asked = guest_actions.SOFT_REBOOT if soft else guest_actions.HARD_REBOOT
    await server_power.change(call.cloud, call.context, call.params["server_id"], asked)
    return Reply(202)


def _changes(asked: OnGuest, nothing: Body | None = None) -> Handler:
    """Return what a call does that changes one thing about a guest; nobody looks at what comes with it, as in Nova.

    But for where Nova does, and takes `nothing`.
    """

    async def change(call: Call) -> Reply:
        if nothing is not None:
            nothing.read(await call.raw(), call.version)
        await server_power.change(call.cloud, call.context, call.params["server_id"], asked)
        return Reply(202)

    return change


_OVERRIDE = "os_compute_api:os-lock-server:unlock:unlock_override"
_PATH = "/v2.1/servers/{server_id}/action"

ROUTES = (
    Route("POST", _PATH, reboot, "os_compute_api:servers:reboot", action="reboot"),
    *(
        Route("POST", _PATH, _changes(asked), policy, action=action)
        for action, asked, policy in (
            ("os-start", guest_actions.START, "os_compute_api:servers:start"),
            ("os-stop", guest_actions.STOP, "os_compute_api:servers:stop"),
            ("pause", guest_actions.PAUSE, "os_compute_api:os-pause-server:pause"),
            ("unpause", guest_actions.UNPAUSE, "os_compute_api:os-pause-server:unpause"),
            ("suspend", guest_actions.SUSPEND, "os_compute_api:os-suspend-server:suspend"),
            ("resume", guest_actions.RESUME, "os_compute_api:os-suspend-server:resume"),
        )
    ),
    Route(
        "POST",
        _PATH,
        _changes(guest_actions.TRIGGER_CRASH_DUMP, _CRASH_DUMP),
        "os_compute_api:servers:trigger_crash_dump",
        since=(2, 17),
        action="trigger_crash_dump",
    ),
    Route("POST", _PATH, console_output, "os_compute_api:os-console-output", action="os-getConsoleOutput"),
    Route("POST", _PATH, lock, "os_compute_api:os-lock-server:lock", action="lock"),
    Route("POST", _PATH, unlock, "os_compute_api:os-lock-server:unlock", action="unlock"),
    Route("POST", _PATH, reset_state, "os_compute_api:os-admin-actions:reset_state", action="os-resetState"),
    Route("POST", _PATH, force_delete, "os_compute_api:os-deferred-delete:force", action="forceDelete"),
    Route("POST", _PATH, restore, "os_compute_api:os-deferred-delete:restore", action="restore"),
)

POLICIES = {
    "os_compute_api:servers:reboot": project_member,
    "os_compute_api:servers:start": project_member,
    "os_compute_api:servers:stop": project_member,
    "os_compute_api:os-pause-server:pause": project_member,
    "os_compute_api:os-pause-server:unpause": project_member,
    "os_compute_api:os-suspend-server:suspend": project_member,
    "os_compute_api:os-suspend-server:resume": project_member,
    "os_compute_api:servers:trigger_crash_dump": project_member,
    "os_compute_api:os-console-output": project_member,
    "os_compute_api:os-lock-server:lock": project_member,
    "os_compute_api:os-lock-server:unlock": project_member,
    _OVERRIDE: admin,
    "os_compute_api:os-admin-actions:reset_state": admin,
    "os_compute_api:os-deferred-delete:force": project_member,
    "os_compute_api:os-deferred-delete:restore": project_member,
}
