"""What making and removing a server costs the database, by count."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from floe.testing import EmbeddedCloud

_BRACKETS = ("BEGIN", "SAVEPOINT", "RELEASE")
"""What a transaction stands in: once for each, and by the driver's own call."""
_ROUND = (
    "SELECT host_networks.host",
    "SELECT group_positions.",
    "SELECT min(group_changes.position)",
    "SELECT group_changes.",
    "SELECT DISTINCT port_bindings.host",
    "SELECT port_groups.group_id, port_addresses.address, port_bindings.host",
    "INSERT INTO host_networks",
    "UPDATE host_networks SET members",
    "SELECT hosts.number,",
    "SELECT count(*) AS count_1 \nFROM hosts",
    "SELECT actions.id \nFROM actions",
    "SELECT actions.id, actions.lease_owner, actions.writes \nFROM actions",
)
"""What rounds ask that tell hosts of networks, hear how hosts fare, or look for actions that nobody performs.

How many rounds there are while a server is made hangs on the moment.
"""


@pytest.fixture
def slow_ways() -> Iterator[list[str]]:
    """The statements of writes that SQLAlchemy looked up and wrapped anew."""
    found: list[str] = []

    def note(_conn: Any, _cursor: Any, text: str, *_more: Any) -> None:
        if threading.current_thread().name == "floe-db-writer" and not text.startswith(_BRACKETS):
            found.append(text)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """All statements that SQLite is given, by threads whatever: those of many rows once, those of triggers never."""
    found: list[str] = []
    last: list[FrameType] = []

    def note(text: str) -> None:
        caller = sys._getframe(1)  # it is kept, so that no other frame is taken for it
        if last != [caller] and not text.startswith((*_BRACKETS, "COMMIT", "ROLLBACK")):
            found.append(text)
        last[:] = [caller]

    def trace(connection: Any, _record: Any) -> None:
        connection.set_trace_callback(note)

    sa.event.listen(sa.Engine, "connect", trace)
    yield found
    sa.event.remove(sa.Engine, "connect", trace)


@pytest.mark.once
@pytest.mark.parametrize(("networks", "most"), [("none", 34), ("auto", 67)])
async def test_a_create_and_a_delete_take_so_many_statements(
    statements: list[str], embedded: EmbeddedCloud, networks: str, most: int
) -> None:
    async with httpx.AsyncClient(base_url=embedded.url) as http:
        token, image, flavor = await _ready(http, embedded)
        body = {"server": {"name": "s", "imageRef": image, "flavorRef": flavor, "networks": networks}}
        taken: list[list[str]] = []
        for _ in range(12):  # the first makes what there is but once; in others something is swept
            statements.clear()
            made = (await http.post("/compute/v2.1/servers", json=body, headers=token)).json()["server"]
            await embedded.settled()
            await http.delete(f"/compute/v2.1/servers/{made['id']}", headers=token)
            await embedded.settled()
            taken.append(_without_rounds(statements))
            if len(taken[-1]) <= most:
                break
    fewest = min(taken, key=len)
    assert 20 < len(fewest) <= most, "\n".join(fewest)


@pytest.mark.once
@pytest.mark.parametrize("networks", ["none", "auto"])
async def test_all_that_a_create_and_a_delete_write_is_compiled_once(
    slow_ways: list[str], embedded: EmbeddedCloud, networks: str
) -> None:
    async with httpx.AsyncClient(base_url=embedded.url) as http:
        token, image, flavor = await _ready(http, embedded)

        async def create_and_delete() -> None:
            body = {"server": {"name": "s", "imageRef": image, "flavorRef": flavor, "networks": networks}}
            made = (await http.post("/compute/v2.1/servers", json=body, headers=token)).json()["server"]
            await embedded.settled()
            shown = (await http.get(f"/compute/v2.1/servers/{made['id']}", headers=token)).json()["server"]
            assert shown["status"] == "ACTIVE", shown
            await http.delete(f"/compute/v2.1/servers/{made['id']}", headers=token)
            await embedded.settled()
            assert (await http.get(f"/compute/v2.1/servers/{made['id']}", headers=token)).status_code == 404

        await create_and_delete()  # the first makes what a project and a host have but once
        assert slow_ways, "nothing was noted, so nothing is shown"
        slow_ways.clear()
        await create_and_delete()
    assert slow_ways == []


def _without_rounds(statements: list[str]) -> list[str]:
    """Leave out what belongs to rounds, each time that they come round."""
    left = [text for text in statements if not text.startswith(_ROUND)]
    assert len(statements) - len(left) < 20, "\n".join(statements)
    return left


async def _ready(http: httpx.AsyncClient, cloud: EmbeddedCloud) -> tuple[dict[str, str], str, str]:
    who = {"name": "demo", "domain": {"id": "default"}, "password": cloud.passwords["demo"]}
    scope = {"project": {"name": "demo", "domain": {"id": "default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}
    reply = await http.post("/identity/v3/auth/tokens", json={"auth": auth})
    token = {"x-auth-token": reply.headers["x-subject-token"], "x-openstack-nova-api-version": "2.96"}
    body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image: str = (await http.post("/image/v2/images", json=body, headers=token)).json()["id"]
    kind = {**token, "content-type": "application/octet-stream"}
    await http.put(f"/image/v2/images/{image}/file", content=b"\0" * 4096, headers=kind)
    flavors = (await http.get("/compute/v2.1/flavors", headers=token)).json()["flavors"]
    return token, image, next(flavor["id"] for flavor in flavors if flavor["name"] == "m1.nano")
