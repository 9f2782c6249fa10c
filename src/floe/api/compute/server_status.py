"""The status of a server as the wire has it, made from what it is and what is being done with it."""

from __future__ import annotations

_STATUS: dict[str, dict[str | None, str]] = {
    "building": {None: "BUILD"},
    "active": {
        None: "ACTIVE",
        "rebooting": "REBOOT",
        "reboot_pending": "REBOOT",
        "reboot_started": "REBOOT",
        "rebooting_hard": "HARD_REBOOT",
        "reboot_pending_hard": "HARD_REBOOT",
        "reboot_started_hard": "HARD_REBOOT",
        "rebuilding": "REBUILD",
        "resize_prep": "RESIZE",
        "resize_migrating": "RESIZE",
        "resize_finish": "RESIZE",
        "migrating": "MIGRATING",
    },
    "stopped": {
        None: "SHUTOFF",
        "rebuilding": "REBUILD",
        "resize_prep": "RESIZE",
        "resize_migrating": "RESIZE",
        "resize_finish": "RESIZE",
        "migrating": "MIGRATING",
    },
    "paused": {None: "PAUSED", "migrating": "MIGRATING"},
    "suspended": {None: "SUSPENDED"},
    "resized": {None: "VERIFY_RESIZE", "resize_reverting": "REVERT_RESIZE"},
    "rescued": {None: "RESCUE"},
    "shelved": {None: "SHELVED"},
    "shelved_offloaded": {None: "SHELVED_OFFLOADED"},
    "error": {None: "ERROR", "rebuilding": "REBUILD"},
    "deleted": {None: "DELETED"},
    "soft-delete": {None: "SOFT_DELETED"},
}
"""vm_state, then task_state (None: any other) -> status."""

_WITH_PROGRESS = frozenset({"ACTIVE", "BUILD", "DELETED", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})


def status(vm_state: str, task_state: str | None) -> str:
    """Return the status that the two states make."""
    of_tasks = _STATUS.get(vm_state)
    if of_tasks is None:
        return "UNKNOWN"
    return of_tasks.get(task_state) or of_tasks[None]


def has_progress(shown: str) -> bool:
    """Say whether a server of that status shows its progress."""
    return shown in _WITH_PROGRESS


def states_of(wanted: list[str]) -> tuple[tuple[str, tuple[str | None, ...] | None], ...]:
    """Return the (vm_state, task_states) pairs that show as one of these statuses; task_states None means any.

    A status nothing shows as gives nothing, so that a filter with it finds no server.
    """
    found: list[tuple[str, tuple[str | None, ...] | None]] = []
    asked = {text.upper() for text in wanted}
    for vm_state, of_tasks in _STATUS.items():
        named = tuple(task for task, shown in of_tasks.items() if task is not None and shown in asked)
        if of_tasks[None] in asked:
            found.append((vm_state, None))
        elif named:
            found.append((vm_state, named))
    return tuple(found)


KNOWN = frozenset(shown for of_tasks in _STATUS.values() for shown in of_tasks.values()) | {
    "PASSWORD",
}
"""What may be asked for; no server here is ever shown as the last one."""
