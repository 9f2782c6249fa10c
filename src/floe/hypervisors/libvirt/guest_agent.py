"""What is said to the agent in a guest: blocking calls of libvirt. It is the guest's own, so it is not believed.

libvirt bounds how much it reads of an answer (10 MiB), and how long it waits for it: for the agent to find itself,
five seconds, and then for the answer as long as it is told.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec

from floe.core.errors import Conflict, HostFailure, NotSupported
from floe.hypervisors.libvirt.connection import bindings, quiet

ANSWERS_IN = 10
"""Seconds that an agent has to answer, once it said that it is there."""
_LONGEST = 64 * 1024
_REFUSED = "The guest's agent refused to do it."
_NONSENSE = "The guest's agent answered what is no answer."
NOBODY = "No guest agent answers in this guest."


class _Answer(msgspec.Struct):
    returned: msgspec.Raw = msgspec.field(name="return")


def set_password(conn: Any, uuid: str, user: str, password: str) -> None:
    """Have the agent set a user's password. Raises HostFailure, where nobody answers with cause `not_supported`."""
    secret = base64.b64encode(password.encode()).decode()
    given = {"username": user, "password": secret, "crypted": False}
    answer = _ask(conn, uuid, {"execute": "guest-set-user-password", "arguments": given})
    if len(answer) > _LONGEST:
        raise HostFailure("The guest's agent answered more than can be read.", stage="guest", cause=Conflict.kind)
    try:
        msgspec.json.decode(answer, type=_Answer)
    except (msgspec.DecodeError, RecursionError):
        raise HostFailure(_NONSENSE, stage="guest", cause=Conflict.kind) from None


def _ask(conn: Any, uuid: str, command: dict[str, Any]) -> str:
    """Return what an agent answers. Of a failure its words are not repeated: it may say what it was told, a secret."""
    libvirt, domain = bindings(), quiet(conn.lookupByUUIDString, uuid)
    import libvirt_qemu

    if domain is None or int(domain.state()[0]) != libvirt.VIR_DOMAIN_RUNNING:
        raise HostFailure("The guest does not run.", stage="guest", cause=Conflict.kind)
    try:
        return str(libvirt_qemu.qemuAgentCommand(domain, json.dumps(command), ANSWERS_IN, 0))
    except UnicodeDecodeError:  # from the bindings, of what the agent answered
        raise HostFailure(_NONSENSE, stage="guest", cause=Conflict.kind) from None
    except libvirt.libvirtError as error:
        code = error.get_error_code()
        detail = f"libvirt's error {code}"
        # There is none, it does not listen, it was silent for too long, or said so much that libvirt gave it up.
        silent = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, _timeout(libvirt))
        if code in silent:
            raise HostFailure(NOBODY, stage="guest", cause=NotSupported.kind, detail=detail) from None
        raise HostFailure(_REFUSED, stage="guest", cause=Conflict.kind, detail=detail) from None


def _timeout(libvirt: Any) -> int | None:
    return getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", None)  # libvirt 8.2
