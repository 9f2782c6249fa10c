"""What a query costs is bounded by what a query may hold, on every call of every surface."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.functional.odd.routes import Watched, path_of, routes_of

import floe.api
from floe.api.app import SURFACES
from floe.api.kit.query import MAX_BYTES, MAX_ITEMS, MAX_PARAMETERS
from floe.api.kit.surface import Surface

MOST_BOUND = 600
"""Values bound to one statement at most, whatever a query holds; a handful of lists of 50, and a page of ids."""
MOST_TEXT = 30_000
LISTS = (
    ("compute", "/v2.1/servers", "tags={}"), ("compute", "/v2.1/servers", "tags-any={}"),
    ("compute", "/v2.1/servers", "not-tags={}"), ("compute", "/v2.1/servers", "not-tags-any={}"),
    ("identity", "/v3/projects", "tags={}"), ("identity", "/v3/projects", "tags-any={}"),
    ("identity", "/v3/projects", "not-tags={}"), ("identity", "/v3/projects", "not-tags-any={}"),
    ("image", "/v2/images", "id=in:{}"), ("image", "/v2/images", "name=in:{}"), ("image", "/v2/images", "status=in:{}"),
    ("image", "/v2/images", "sort={}"), ("placement", "/resource_providers", "required={}"),
    ("placement", "/resource_providers", "required=in:{}"), ("placement", "/resource_providers", "member_of=in:{}"),
    ("placement", "/resource_providers", "resources={}"), ("placement", "/allocation_candidates", "resources={}"),
    ("placement", "/allocation_candidates", "resources=VCPU:1&required={}"),
    ("placement", "/allocation_candidates", "resources=VCPU:1&same_subtree={}"),
    ("placement", "/traits", "name=in:{}"),
)  # fmt: skip
"""Lists within one parameter, by what stands before their items."""


@contextmanager
def _statements() -> Iterator[list[tuple[int, int]]]:
    """Note (length, bound values) of each statement that runs meanwhile."""
    seen: list[tuple[int, int]] = []

    def note(_conn: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        seen.append((len(statement), 0 if many else len(values or ())))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
async def test_no_query_holds_more_than_its_bounds(callers: Any, surface: Surface) -> None:
    admin, _ = callers
    wrong = []
    for route in routes_of(surface):
        if route.method != "GET":
            continue
        path = path_of(route, admin.ids)
        plain, _ = await admin.send(surface.name, "GET", path)
        if plain == 401:
            continue
        for query in (
            "&".join(f"a{n}=1" for n in range(MAX_PARAMETERS + 1)),
            "&".join(["limit=1"] * (MAX_ITEMS + 1)),
            "&".join(["sort_key=name"] * (MAX_ITEMS + 1)),
            "&".join(["name=x"] * (MAX_ITEMS + 1)),
            "name=" + "x" * MAX_BYTES,
        ):
            status, _ = await admin.send(surface.name, "GET", path, query=query)
            wrong += [f"GET {path}?{query[:40]}: {status}"] if status != 400 else []
    assert wrong == []


@pytest.mark.parametrize(("surface", "path", "query"), LISTS, ids=lambda part: str(part)[:40])
async def test_a_list_within_a_query_has_so_many_items_at_most(
    callers: Any, surface: str, path: str, query: str
) -> None:
    admin, _ = callers
    item = "name" if "sort" in query else "VCPU:1" if "resources={}" in query else "CUSTOM_X"
    if "member_of" in query:
        item = "00000000-0000-0000-0000-000000000000"
    found = {}
    for count in (MAX_ITEMS, MAX_ITEMS + 1):
        text = query.format(",".join([item] * count))
        status, reply = await admin.send(surface, "GET", path, query=text)
        found[count] = (status, b"at most 50" in reply)
    assert found[MAX_ITEMS + 1] == (400, True)
    assert not found[MAX_ITEMS][1]


def test_lists_within_a_parameter_are_split_in_one_place() -> None:
    source = Path(floe.api.__file__).parent
    own = re.compile(r"\.split\(\s*[\"'],[\"']")
    splitting = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if own.search(path.read_text())}
    headers = {"kit/peer.py", "kit/surface.py"}
    assert splitting == {"kit/query.py", *headers}, "use floe.api.kit.query.items; a header's list is its own"


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
async def test_no_query_makes_a_statement_that_grows_without_bound(
    callers: Any, surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    beyond = []
    for route in routes_of(surface):
        if route.method != "GET":
            continue
        for caller in callers:
            watched.clear()
            path = path_of(route, caller.ids)
            await caller.send(surface.name, "GET", path)
            table = route.query.params if route.query is not None else ()
            names = sorted({param.name for param in table} | watched.names)
            texts = ["x" * 200, ",".join(f"t{n}" for n in range(MAX_ITEMS)), "in:" + ",".join(["x"] * MAX_ITEMS)]
            queries = ["&".join([f"{name}={text}"] * MAX_ITEMS) for name in names for text in texts]
            queries += ["&".join(f"{name}={text}" for name in names[:MAX_PARAMETERS]) for text in texts]
            queries += ["&".join(f"p{n}=x" for n in range(MAX_PARAMETERS))]
            for query in queries:
                with _statements() as seen:
                    status, _ = await caller.send(surface.name, "GET", path, query=query)
                beyond += [
                    f"GET {path}?{query[:60]}: {status}, {found}"
                    for found in seen
                    if found[0] > MOST_TEXT or found[1] > MOST_BOUND
                ]
    assert beyond == []


@pytest.mark.parametrize(
    ("surface", "path", "keys"),
    [
        ("compute", "/v2.1/servers", ("display_name", "created_at", "updated_at", "vm_state", "task_state", "uuid",
         "host", "hostname", "image_ref", "key_name", "launched_at", "locked", "power_state", "progress", "project_id",
         "user_id")),
        ("network", "/v2.0/networks", ("name", "status", "admin_state_up", "id", "mtu", "tenant_id")),
        ("image", "/v2/images", ("name", "status", "visibility", "owner", "size", "min_disk", "min_ram", "created_at")),
        ("compute", "/v2.1/flavors/detail", ("name",)),
    ],
)  # fmt: skip
async def test_each_key_to_sort_by_costs_as_much_as_the_one_before(
    callers: Any, surface: str, path: str, keys: tuple[str, ...]
) -> None:
    admin, member = callers
    marker = {"servers": "server_id", "networks": "network_id", "images": "image_id", "detail": "flavor_id"}
    ident = member.ids[marker[path.rpartition("/")[2]]]
    bound = []
    for count in range(1, len(keys) + 1):
        query = f"marker={ident}&all_tenants=1&" if surface == "compute" and "servers" in path else f"marker={ident}&"
        query += "&".join(f"sort_key={key}" for key in keys[:count])
        with _statements() as seen:
            status, _ = await admin.send(surface, "GET", path, query=query)
        assert status == 200
        bound.append(max(values for _, values in seen))
        with _statements() as again:  # a key named again means nothing more
            await admin.send(surface, "GET", path, query=query + f"&sort_key={keys[0]}" * 30)
        assert max(values for _, values in again) == bound[-1]
    assert bound[-1] - bound[0] <= 8 * len(keys), bound
