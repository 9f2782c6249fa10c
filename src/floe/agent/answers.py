"""What a command is answered: of what went wrong, and of many that were asked for together."""

from __future__ import annotations

import asyncio
import logging

from floe.agent.steps import Steps
from floe.core.errors import FloeError, HostFailure
from floe.core.messages import Failed, Result, SpawnAnswer, Spawned

log = logging.getLogger(__name__)

DELETED = "The server was deleted meanwhile."


def answer_of(work: asyncio.Task[Result]) -> SpawnAnswer:
    """Return what came of one of many spawns so far."""
    if not work.done() or work.cancelled():
        return SpawnAnswer()
    if (error := work.exception()) is not None:
        return SpawnAnswer(failed=failure_of(error, None))
    result = work.result()
    if isinstance(result, Spawned):
        return SpawnAnswer(spawned=result)
    return SpawnAnswer(failed=result if isinstance(result, Failed) else None)


def failure_of(error: BaseException, steps: Steps | None) -> Failed:
    """Return what is answered of an error, with the steps that were done or tried."""
    done = () if steps is None else tuple(steps.done)
    if isinstance(error, HostFailure):
        said = {"message": error.message, "stage": error.stage, "detail": error.detail}
        return Failed(kind=error.cause or error.kind, **said, heard=error.heard, steps=done)
    if isinstance(error, FloeError):
        return Failed(kind=error.kind, message=error.message, steps=done)
    log.error("a command failed unexpectedly", exc_info=error)
    text = f"The host failed unexpectedly: {type(error).__name__}."
    return Failed(kind="internal", message=text, detail=repr(error), steps=done)
