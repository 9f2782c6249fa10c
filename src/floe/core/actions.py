"""Durable actions: what is being done with a server or an image, step by step; any conductor can go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from floe.core.given import (
    BlobGiven,
    CreateGiven,
    Given,
    NicGiven,
    RebuildGiven,
    RescueGiven,
    ResizeGiven,
    ShelveGiven,
    SnapshotGiven,
    UnshelveGiven,
)
from floe.core.servers import (
    ACTIVE,
    BUILDING,
    DELETING,
    ERROR,
    IMAGE_BACKUP,
    IMAGE_SNAPSHOT,
    PAUSED,
    REBUILDING,
    RESCUED,
    RESCUING,
    RESIZE_CONFIRMING,
    RESIZE_PREP,
    RESIZE_REVERTING,
    RESIZED,
    SCHEDULING,
    SHELVED,
    SHELVED_OFFLOADED,
    SHELVING,
    SHELVING_OFFLOADING,
    STOPPED,
    SUSPENDED,
    UNRESCUING,
    UNSHELVING,
)

PENDING, RUNNING, UNDOING = "pending", "running", "undoing"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
OPEN_STATES = frozenset({PENDING, RUNNING, UNDOING})
SERVER = "server"
"""The kind of subject that most actions have."""
IMAGE = "image"


class Begins(msgspec.Struct, frozen=True, kw_only=True):
    """How an action begins: what state it finds its subject in, and which one it puts it in while it lasts.

    Whoever inserts an action goes by it, and the workflow that does it: see `conductor.saga`.
    """

    kind: str
    version: int
    """Of the workflow, kept with each journal: one that renames a step or returns something else is a new one."""
    subject: str = SERVER
    allowed: frozenset[str] | None = None
    """The vm_states that it may begin in; None means any."""
    task_state: str | None = None
    given: type[Given] = Given
    """What it is given; see `Action.input`."""


CREATE = Begins(kind="create", version=2, given=CreateGiven, allowed=frozenset({BUILDING}), task_state=SCHEDULING)
DELETE = Begins(kind="delete", version=2, task_state=DELETING)
UPLOAD_IMAGE = Begins(kind="upload-image", version=1, subject=IMAGE, given=BlobGiven)
DELETE_IMAGE = Begins(kind="delete-image", version=1, subject=IMAGE, given=BlobGiven)
REBUILD = Begins(
    kind="rebuild",
    version=1,
    given=RebuildGiven,
    allowed=frozenset({ACTIVE, STOPPED, ERROR}),
    task_state=REBUILDING,
)
RESCUE_SERVER = Begins(
    kind="rescue", version=1, given=RescueGiven, allowed=frozenset({ACTIVE, STOPPED, ERROR}), task_state=RESCUING
)
UNRESCUE_SERVER = Begins(
    kind="unrescue", version=1, given=RescueGiven, allowed=frozenset({RESCUED, ERROR}), task_state=UNRESCUING
)

RESIZE = Begins(
    kind="resize",
    version=2,
    given=ResizeGiven,
    allowed=frozenset({ACTIVE, STOPPED}),
    task_state=RESIZE_PREP,
)
MIGRATE = Begins(
    kind="migrate", version=1, given=ResizeGiven, allowed=frozenset({ACTIVE, STOPPED}), task_state=RESIZE_PREP
)
_HALVES = frozenset({RESIZED, ERROR})
CONFIRM_RESIZE = Begins(
    kind="confirmResize", version=2, given=ResizeGiven, allowed=_HALVES, task_state=RESIZE_CONFIRMING
)
REVERT_RESIZE = Begins(kind="revertResize", version=2, given=ResizeGiven, allowed=_HALVES, task_state=RESIZE_REVERTING)

_PLUGGABLE = frozenset({ACTIVE, PAUSED, STOPPED})
ATTACH_INTERFACE = Begins(kind="attach_interface", version=1, given=NicGiven, allowed=_PLUGGABLE)
DETACH_INTERFACE = Begins(kind="detach_interface", version=1, given=NicGiven, allowed=_PLUGGABLE)

_COPIED = frozenset({ACTIVE, PAUSED, STOPPED, SUSPENDED})
CREATE_IMAGE = Begins(kind="createImage", version=1, given=SnapshotGiven, allowed=_COPIED, task_state=IMAGE_SNAPSHOT)
CREATE_BACKUP = Begins(kind="createBackup", version=1, given=SnapshotGiven, allowed=_COPIED, task_state=IMAGE_BACKUP)

SHELVE = Begins(kind="shelve", version=1, given=ShelveGiven, allowed=_COPIED, task_state=SHELVING)
OFFLOAD = Begins(
    kind="shelveOffload", version=1, given=Given, allowed=frozenset({SHELVED}), task_state=SHELVING_OFFLOADING
)
UNSHELVE = Begins(
    kind="unshelve",
    version=1,
    given=UnshelveGiven,
    allowed=frozenset({SHELVED, SHELVED_OFFLOADED}),
    task_state=UNSHELVING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One operation on its subject, as the database holds it.

    `input` is what the workflow needs beyond the subject's row, as JSON: `Begins.given` is its type. An owner holds the
    action until `lease_until`; all its writes are fenced by (`lease_owner`, state), so that a late answer from a dead
    owner changes nothing.
    `message` says, once it has failed, why, for the user.
    """

    id: str
    kind: str
    """What the workflow registry knows: `create`, `delete`, `upload-image`."""
    version: int = 1
    """Of the workflow that its journal is written by; releases before the first that counted them write 1."""
    subject_kind: str = SERVER
    subject_id: str
    project_id: str
    user_id: str
    request_id: str
    input: Mapping[str, Any] = field(default_factory=dict)
    state: str = PENDING
    lease_owner: str | None = None
    lease_until: datetime | None = None
    attempts: int = 0
    writes: int = 0
    """How often its owners wrote: whoever takes it over must have read its journal as of this number."""
    message: str | None = None
    sealed: str | None = field(default=None, repr=False)
    """The secrets that belong to `input`, sealed; gone as soon as the action has ended, whichever way."""
    created_at: datetime
    updated_at: datetime | None = None
    finished_at: datetime | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of an action's journal: what recovery runs on, and what the user sees as an event.

    `output` is the step's result (JSON), read on replay. `state` is begun, done, failed or undone. A step done on a
    host as part of another (`image` within `spawn`) has that one as its `parent` and matters to the trace alone.
    """

    action_id: str
    seq: int
    name: str
    state: str
    parent: str | None = None
    host: str | None = None
    remark: str = ""
    output: Any = None
    started_at: datetime
    finished_at: datetime | None = None
    traceback: str | None = None
