"""An action whose row came with the nudge is taken up as that says, and by nobody whom the database says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from floe.core.actions import CANCELLED, PENDING, SUCCEEDED, Action
from floe.core.messages import ActionWaits, Destroy, Spawn
from floe.store import actions
from floe.store.engine import Connection

pytestmark = pytest.mark.once  # reads are counted


async def _handed(site: Any) -> tuple[str, Action]:
    """Return a server that waits, and its action as it was inserted."""
    server = await site.post(nudge=False)
    (action,) = site.actions(server.id)
    assert (action.state, action.attempts, action.writes) == (PENDING, 0, 0)
    return server.id, action


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the ids of actions whose rows were read."""
    found: list[str] = []
    get: Callable[[Connection, str], Action | None] = actions.get

    def noted(conn: Connection, action_id: str) -> Action | None:
        found.append(action_id)
        return get(conn, action_id)

    monkeypatch.setattr(actions, "get", noted)
    return found


async def test_what_a_nudge_brought_is_not_read_again(site: Any, read: list[str]) -> None:
    await site.add_host("h1")
    server = await site.post()
    await site.settle()
    await site.delete(server)
    await site.settle()
    assert site.server(server.id).vm_state == "deleted"
    assert read == []


async def test_an_action_whose_secrets_are_large_is_named_only(site: Any, read: list[str]) -> None:
    await site.add_host("h1")
    sent: list[ActionWaits] = []

    async def hear(event: ActionWaits) -> None:
        sent.append(event)

    await site.cloud.bus.share(hear)
    _, action = await _handed(site)
    for _ in range(2):  # the conductor and the test have their turns
        await site.cloud.hand_over(replace(action, sealed="x" * 40_000))
    await site.settle()
    await site.cloud.bus.leave(hear)
    assert sent == [ActionWaits(action_id=action.id)]
    assert read == [action.id]
    assert site.server(action.subject_id).vm_state == "active"


async def test_a_row_that_comes_late_or_twice_is_done_once(site: Any) -> None:
    host = await site.add_host("h1")
    ident, action = await _handed(site)
    for _ in range(2):
        await site.cloud.hand_over(action)
    await site.settle()
    await site.cloud.hand_over(action)
    await site.settle()
    assert site.server(ident).vm_state == "active"
    assert len(host.sent(Spawn)) == 1
    (ended,) = site.actions(ident)
    assert (ended.state, ended.attempts) == (SUCCEEDED, 1)


async def test_a_row_that_others_cancelled_meanwhile_is_not_gone_by(site: Any) -> None:
    host = await site.add_host("h1")
    ident, action = await _handed(site)
    server = site.server(ident)
    await site.delete(server, nudge=False)
    await site.cloud.hand_over(action)
    await site.settle()
    assert host.sent(Spawn) == []
    assert {each.kind: each.state for each in site.actions(ident)} == {"create": CANCELLED, "delete": PENDING}
    (delete,) = (each for each in site.actions(ident) if each.kind == "delete")
    await site.cloud.hand_over(delete)
    await site.cloud.hand_over(delete)
    await site.settle()
    await site.cloud.hand_over(delete)
    await site.settle()
    assert site.server(ident).vm_state == "deleted"
    assert len(host.sent(Destroy)) <= 1


async def test_what_another_conductor_holds_is_left_to_it(site: Any) -> None:
    host = await site.add_host("h1")
    ident, action = await _handed(site)
    now = site.cloud.clock.now()

    def lease(conn: Connection) -> None:
        taken = actions.take(conn, action, 0, "another/conductor", "running", now, now.replace(year=now.year + 1))
        assert taken

    await site.cloud.db.write(lease)
    await site.cloud.hand_over(action)
    await site.settle()
    assert host.sent(Spawn) == []
    (held,) = site.actions(ident)
    assert (held.lease_owner, held.attempts) == ("another/conductor", 1)


@pytest.mark.parametrize("values", [{"version": 99}, {"kind": "unheard-of"}, {"input": {"image": 7}}], ids=str)
async def test_what_another_release_began_is_left_to_it(site: Any, values: dict[str, Any]) -> None:
    host = await site.add_host("h1")
    ident, action = await _handed(site)
    await site.cloud.hand_over(replace(action, **values))
    await site.settle()
    assert host.sent(Spawn) == []
    assert site.actions(ident) == [action]
