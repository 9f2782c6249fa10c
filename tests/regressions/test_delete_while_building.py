"""A server deleted while it is being built is gone at once, and nothing of it is left."""

from __future__ import annotations

from typing import Any


async def test_a_delete_does_not_wait_for_the_build_and_leaves_nothing(start: Any, kit: Any) -> None:
    user = await start(hosts=1, delay=3600.0)
    ident = await user.create()
    host = user.cloud.folder / "hosts" / "fake-1" / "guests" / ident
    await kit.until(host.exists)
    await user.delete(ident)
    await kit.until(lambda: user.gone(ident))
    await user.cloud.settled()
    assert not host.exists()
    assert kit.violations(user.cloud) == []
