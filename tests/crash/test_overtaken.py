"""A conductor stands still between proving that an action is its own and telling a host: another one overtakes it."""

from __future__ import annotations

from collections.abc import Callable

from floe.core.errors import HostFailure
from floe.core.messages import Result

from .conftest import Town, until
from .overtaking import Ask, overtaken


async def test_its_late_undo_leaves_the_guest_that_the_next_one_made_active(new_town: Callable[[], Town]) -> None:
    refused: list[str] = []

    async def destroy(ask: Ask) -> Result:
        try:
            return await ask()
        except HostFailure as error:
            refused.append(error.message)
            raise

    async with overtaken(new_town, destroy) as found:
        found.bus.goes_on.set()
        await until(lambda: refused)
        assert "taken up by another conductor" in refused[0]
