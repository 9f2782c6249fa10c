"""What a host asks its guests, or their hypervisor about them. It waits for no other command on a guest.

A guest that does not answer thus holds up nothing but itself; a destroy ends it in the middle of that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from floe.agent import console
from floe.agent.guests import GuestBuilder
from floe.agent.ledger import Ledger
from floe.agent.threads import Offload
from floe.core.errors import NotFound
from floe.core.guest_questions import ReadDiagnostics, SetPassword
from floe.core.guests import GuestSpec
from floe.core.messages import ConsoleOutput, Done, ReadConsole, Result
from floe.hypervisors.protocol import Hypervisor


def handlers(
    ledger: Ledger, builder: GuestBuilder, hypervisor: Hypervisor, offload: Offload
) -> dict[type, Callable[[Any], Awaitable[Result]]]:
    """Return what is done on each of these commands."""

    def known(server_id: str) -> GuestSpec:
        guest = ledger.guests.get(server_id)
        if guest is None:
            raise NotFound("guest", server_id, message="The guest is not known on this host.")
        return guest

    async def set_password(command: SetPassword) -> Result:
        await hypervisor.set_password(known(command.server_id), command.user, command.password)
        builder.first_passwords.forget(command.server_id)
        return Done()

    async def read_diagnostics(command: ReadDiagnostics) -> Result:
        return await hypervisor.diagnostics(known(command.server_id))

    async def read_console(command: ReadConsole) -> Result:
        folder = builder.folder(command.server_id)
        if not folder.exists():  # one stat
            raise NotFound("guest", command.server_id)
        return ConsoleOutput(text=await offload(console.read_tail, folder / "console.log", command.lines))

    return {SetPassword: set_password, ReadDiagnostics: read_diagnostics, ReadConsole: read_console}
