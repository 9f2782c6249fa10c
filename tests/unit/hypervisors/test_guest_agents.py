"""Threads for what guests answer themselves: a guest that is slow holds up itself, a project its own guests."""

from __future__ import annotations

import asyncio
import threading
import traceback
from typing import Any

import libvirt
import pytest

from floe.core.errors import Conflict, HostFailure, NotSupported
from floe.hypervisors.libvirt import guest_agent
from floe.hypervisors.libvirt.connection import LibvirtConnection
from floe.hypervisors.libvirt.talks import Talks

SECRET = "Pa55-that-is-asked-for"


class Alive:
    """As much of a connection as is looked at before it is used."""

    def isAlive(self) -> bool:  # noqa: N802  # libvirt's name
        return True


def connection() -> LibvirtConnection:
    made = LibvirtConnection("qemu:///system")
    made._conn = Alive()
    return made


async def until_asked(talks: Talks, guest: str) -> None:
    async with asyncio.timeout(30):
        while guest in talks._asked:
            await asyncio.sleep(0.001)


async def test_slow_guests_hold_up_neither_libvirt_nor_other_projects() -> None:
    conn, over = connection(), threading.Event()
    talks = Talks(conn)

    def slow(_conn: Any) -> str:
        return "slow" if over.wait(30) else "never"

    def quick(_conn: Any) -> str:
        return "quick"

    loop = asyncio.get_running_loop()
    flood = [loop.create_task(talks.ask(slow, project="bad", guest=f"b{number}")) for number in range(20)]
    await asyncio.sleep(0)
    with pytest.raises(HostFailure, match="already") as refused:
        await talks.ask(quick, project="bad", guest="b0")
    assert refused.value.cause == Conflict.kind
    assert await conn.ask(quick) == "quick"
    good = loop.create_task(talks.ask(quick, project="good", guest="g"))
    await asyncio.sleep(0)
    order: list[str] = []
    for task, name in ((good, "good"), (flood[-1], "last of the flood")):
        task.add_done_callback(lambda _task, name=name: order.append(name))
    over.set()
    await asyncio.gather(good, *flood)
    assert order == ["good", "last of the flood"]
    assert await talks.ask(quick, project="bad", guest="b0") == "quick"
    talks.close()


async def test_a_guest_is_asked_nothing_else_before_it_answered_whoever_gave_up_waiting() -> None:
    talks, over, begun = Talks(connection()), threading.Event(), threading.Event()

    def slow(_conn: Any) -> None:
        begun.set()
        over.wait(30)

    def quick(_conn: Any) -> str:
        return "quick"

    loop = asyncio.get_running_loop()
    waits = loop.create_task(talks.ask(slow, project="p", guest="g"))
    assert await asyncio.to_thread(begun.wait, 30)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    with pytest.raises(HostFailure, match="already"):
        await talks.ask(quick, project="p", guest="g")
    over.set()
    await until_asked(talks, "g")
    assert await talks.ask(quick, project="p", guest="g") == "quick"
    talks.close()


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

    text = f"unable to execute: \x1b[2J {SECRET}" + "long " * 1000
    says = fails(answer, text) if isinstance(answer, int) else lambda *_: answer
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", says)
    if cause is None:
        guest_agent.set_password(Conn(), "u", "root", SECRET)
        return
    with pytest.raises(HostFailure) as failed:
        guest_agent.set_password(Conn(), "u", "root", SECRET)
    assert failed.value.cause == cause
    assert len(failed.value.message) < 300
    assert "\x1b" not in failed.value.message + failed.value.detail
    told = "".join(traceback.format_exception(failed.value))
    assert SECRET not in told + failed.value.detail, "an agent may say what it was told"
