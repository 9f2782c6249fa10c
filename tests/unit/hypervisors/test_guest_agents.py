"""Threads for what guests answer themselves: a guest that is slow holds up itself, a project its own guests."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from floe.core.errors import Conflict, HostFailure, NotSupported
from floe.hypervisors.libvirt import guest_agent
from floe.hypervisors.libvirt.connection import LibvirtConnection

libvirt = pytest.importorskip("libvirt")


class Alive:
    """As much of a connection as is looked at before it is used."""

    def isAlive(self) -> bool:  # noqa: N802  # libvirt's name
        return True


def connection() -> LibvirtConnection:
    made = LibvirtConnection("qemu:///system")
    made._conn = Alive()
    return made


async def test_slow_guests_hold_up_neither_libvirt_nor_other_projects() -> None:
    talks, over = connection(), threading.Event()

    def slow(_conn: Any) -> str:
        return "slow" if over.wait(30) else "never"

    def quick(_conn: Any) -> str:
        return "quick"

    loop = asyncio.get_running_loop()
    flood = [loop.create_task(talks.talk(slow, caller=("bad", f"b{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    with pytest.raises(HostFailure, match="already") as refused:
        await talks.talk(quick, caller=("bad", "b0"))
    assert refused.value.cause == Conflict.kind
    assert await talks.ask(quick) == "quick"
    good = loop.create_task(talks.talk(quick, caller=("good", "g")))
    await asyncio.sleep(0)
    order: list[str] = []
    for task, name in ((good, "good"), (flood[-1], "last of the flood")):
        task.add_done_callback(lambda _task, name=name: order.append(name))
    over.set()
    await asyncio.gather(good, *flood)
    assert order == ["good", "last of the flood"]
    assert await talks.talk(quick, caller=("bad", "b0")) == "quick"
    talks._talks.close()


class Domain:
    """A domain that runs, whose agent answers something."""

    def state(self) -> list[int]:
        return [libvirt.VIR_DOMAIN_RUNNING, 0]


class Conn:
    def lookupByUUIDString(self, _uuid: str) -> Domain:  # noqa: N802  # libvirt's name
        return Domain()


def fails(code: int, text: str) -> Any:
    error = libvirt.libvirtError(text)
    error.err = (code, 0, text)

    def ask(*_: Any) -> str:
        raise error

    return ask


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ('{"return": {}}', None),
        ('{"return": {"more": [1]}}', None),
        ("{}", Conflict.kind),
        ("[" * 60_000, Conflict.kind),
        ('{"return": ' + "[" * 60_000, Conflict.kind),
        ('{"return": "' + "x" * 70_000 + '"}', Conflict.kind),
        ("", Conflict.kind),
        (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, NotSupported.kind),
        (libvirt.VIR_ERR_INTERNAL_ERROR, Conflict.kind),
    ],
)
def test_what_an_agent_answers_is_bounded_and_not_believed(
    monkeypatch: pytest.MonkeyPatch, answer: str | int, cause: str | None
) -> None:
    import libvirt_qemu

    text = "unable to execute: \x1b[2J" + "long " * 1000
    says = fails(answer, text) if isinstance(answer, int) else lambda *_: answer
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", says)
    if cause is None:
        guest_agent.set_password(Conn(), "u", "root", "p")
        return
    with pytest.raises(HostFailure) as failed:
        guest_agent.set_password(Conn(), "u", "root", "p")
    assert failed.value.cause == cause
    assert len(failed.value.message) < 300
    assert "\x1b" not in failed.value.message + failed.value.detail
