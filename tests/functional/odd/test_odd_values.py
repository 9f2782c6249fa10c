"""No query parameter, no body field, no path and no header of any call answers 5xx to what nobody should send."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from typing import Any, get_args, get_origin
from urllib.parse import quote_from_bytes

import msgspec
import pytest
from tests.functional.odd.conftest import serve
from tests.functional.odd.routes import Watched, latest_of, noun_of, path_of, routes_of

from floe.api.app import SURFACES
from floe.api.kit.body import Body
from floe.api.kit.call import Route
from floe.api.kit.surface import Surface
from floe.testing import EmbeddedCloud

TEXTS = (
    "", " ", "²", "①", "٣", "-1", "0", "1e400", "1.5", "NaN", str(2**31), str(2**63), "9" * 5000,
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2020-01-31T12:00:00+99:99", "0000-00-00",
    "\0", "a\0b", "%", "_%", "\u202eabc\u202c", "😀" * 40, "null", "true", "[]", "{}", "..", "in:", "gt:", "eq:x",
    "!", ",", "x,,y", "::1", "10.0.0.0/33", "'; DROP TABLE servers; --", "(", "(a*)*$", "\\", "é" * 300, "x" * 70000,
)  # fmt: skip
VICIOUS = ("", "²", "1e400", str(2**63), "9" * 5000, "9999-12-31T23:59:59-14:00", "\0", "%", "[]", "in:", "(", ",")
"""Those that a plain filter is most likely to stumble over."""
RAW = ("%ff", "%ed%a0%80", "%c0%af", "%", "%zz", "%e2%82", "+")
"""As they stand on the wire; most are no UTF-8."""

JSON = (
    "null", "true", "[]", "{}", "[[]]", '[{}, "x"]', '{"a": {"a": 1}}', "0", "-1", "1.5", "1e400", str(2**31),
    str(2**63), str(-(2**63) - 1), "9" * 5000, '""', '" "', '"²"', '"-1"', f'"{2**63}"', '"' + "9" * 5000 + '"',
    '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '"\\u0000"', '"\\ud800"', '"%"', '"\\u202eabc"',
    '"\U0001f600"', '"../x"', '"' + "x" * 70000 + '"', "[" * 100 + "]" * 100,
)  # fmt: skip
BODIES = (
    b"", b" ", b"null", b"[]", b"{}", b"1", b'"x"', b"{", b'{"a": 1,}', b"NaN", b'{"a": NaN}', b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}", b'{"\xff": 1}', b'{"a": "\xed\xa0\x80"}', b'{"\\ud800": 1}', b"[" * 100000, b'{"a":' * 5000,
    b"a=1&b=2", b"<xml/>", b"\0" * 10,
)  # fmt: skip
LONG = b"9" * 5000
UNMET = {"floe:hosts:create", "floe:hosts:update", "floe:join"}
"""Rules of routes that a cloud in one process, which no host can join, refuses whatever is asked."""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMtaXMtMzItYnl0ZXMtb2YtYS1wdWJsaWMta2V5 me"
HEADERS: dict[str, tuple[bytes, ...]] = {
    "x-openstack-nova-api-version": (b"", b"2.999", b"2.1.1", b"-1", b"\xff", b"2." + LONG, b"x", b"2.\xb2"),
    "openstack-api-version": (b"", b"compute", b"compute 2." + LONG, b"compute \xff", b"placement 1.\xb2", b",,"),
    "x-auth-token": (b"", b"\xff", b"x" * 70000, b"gAAAAA"),
    "x-subject-token": (b"", b"\xff", b"x" * 5000),
    "range": (b"", b"bytes=", b"bytes=-", b"bytes=0-0,2-3", b"bytes=9-1", b"bytes=" + LONG + b"-", b"bytes=\xb2-"),
    "content-range": (b"", b"bytes 0-1/2", b"bytes " + LONG + b"-", b"x"),
    "if-match": (b"", b"*", b"revision_number=", b"revision_number=" + LONG, b"revision_number=\xb2"),
    "if-none-match": (b"", b"*", b"\xff"),
    "content-type": (b"", b"text/plain", b"application/json; charset=utf-7", b"\xff", b"multipart/form-data", b"/"),
    "content-length": (b"", b"-1", b"x", LONG),
    "content-encoding": (b"gzip",),
    "accept": (b"", b"text/html", b"*/*;q=x", b"\xff"),
    "idempotency-key": (b"", b" ", b"\xff", b"x" * 5000, b"a\tb"),
    "host": (b"", b"\xff", b"x" * 300),
}  # fmt: skip
LOWEST = (2, 1)
AT = [(surface, latest_of(surface)) for surface in SURFACES]
AT += [(surface, LOWEST) for surface in SURFACES if surface.name == "compute"]
NAMES = [f"{surface.name}-{version[0]}.{version[1]}" for surface, version in AT]


def _text(text: str) -> str:
    return quote_from_bytes(text.encode(), safe="")


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def _names(route: Route, watched: Watched, reply: bytes) -> tuple[set[str], set[str]]:
    """Return the parameters that a call has a rule for, and the names of fields that it may filter by."""
    table = route.query.params if route.query is not None else ()
    own = {param.name + ("1" if param.suffix is not None else "") for param in table} | watched.names | {"limit"}
    shown = _decoded(reply)
    items = (
        [each for part in shown.values() if isinstance(part, list) for each in part[:1]]
        if isinstance(shown, dict)
        else []
    )
    fields = {key for item in items if isinstance(item, dict) for key in item} - own
    return own, fields | {f"{field}__contains" for field in sorted(fields)[:3]}


def _decoded(reply: bytes) -> Any:
    try:
        return msgspec.json.decode(reply)
    except msgspec.DecodeError:
        return None


@pytest.mark.parametrize(("surface", "version"), AT, ids=NAMES)
async def test_no_query_makes_a_server_error(
    callers: Any, watched: Watched, surface: Surface, version: tuple[int, int]
) -> None:
    failed = []
    for route in routes_of(surface, version):
        if route.method != "GET":
            continue
        for caller in callers:
            watched.clear()
            path = path_of(route, caller.ids)
            status, reply = await caller.send(surface.name, "GET", path, version=version)
            own, fields = _names(route, watched, reply)
            queries = [f"{name}={_text(text)}" for name in sorted(own) for text in TEXTS]
            queries += [f"{name}={raw}" for name in sorted(own)[:1] for raw in RAW] + [f"{raw}=1" for raw in RAW]
            queries += [f"{name}={_text(text)}" for name in sorted(fields) for text in VICIOUS]
            queries += [f"{name}=1&{name}=2" for name in sorted(own | fields)]
            queries += ["&".join(f"{name}=x" for name in sorted(own | fields)), "a=1&" * 1100, "&&&", "=", "?"]
            if caller is callers[1] or version == LOWEST:
                queries = queries[::5]
            statuses = [status] + [
                (await caller.send(surface.name, "GET", path, query=query, version=version))[0] for query in queries
            ]
            failed += [f"GET {path}?{q[:100]}: {s}" for q, s in zip(["", *queries], statuses, strict=True) if s >= 500]
    assert failed == []


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
async def test_no_path_and_no_header_makes_a_server_error(callers: Any, surface: Surface) -> None:
    admin, member = callers
    failed = []
    for route in routes_of(surface, latest_of(surface)):
        body = None if route.method in {"GET", "HEAD", "DELETE"} else b"{}"
        paths = [
            path_of(route, admin.ids, **{name: odd})
            for name in re.findall(r"\{(\w+)\}", route.path)
            for odd in (*(_text(text[:300]) for text in TEXTS if text), *RAW)
        ]
        for path in paths:
            status, _ = await admin.send(surface.name, route.method, path, body=body)
            failed += [f"{route.method} {path[:120]}: {status}"] if status >= 500 else []
        path = path_of(route, {} if route.method == "DELETE" else admin.ids)
        for name, values in HEADERS.items():
            for value in values:
                status, _ = await member.send(surface.name, route.method, path, body=body, headers=((name, value),))
                failed += [f"{route.method} {path} {name}: {value[:40]!r}: {status}"] if status >= 500 else []
    assert failed == []


def _sample(kind: Any, name: str, ids: dict[str, str], seen: tuple[Any, ...] = ()) -> Any:
    """Return a value of a type, and one for a field of that name if such is known."""
    known = (ids.get(name), ids.get(f"{name}_id"), *_plausible(name))
    for value in (*known, "x", "name", 1, True, 1.5, ids["image_id"], "10.77.0.0/24", "GET"):
        if value is not None and _fits(value, kind):
            return value
    origin, members = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return _sample(members[0], name, ids, seen)
    if origin in {list, tuple}:
        return [_sample(members[0], name, ids, seen)]
    if origin is dict:
        return {"k": _sample(members[1], "", ids, seen)}
    if origin in {typing.Union, types.UnionType}:
        found = (_sample(member, name, ids, seen) for member in members)
        return next((value for value in found if value is not None), None)
    if origin is typing.Literal:
        return members[0]
    if _is_object(kind) and kind not in seen:
        fields = [field for field in msgspec.structs.fields(kind) if field.required]
        return {field.encode_name: _sample(field.type, field.encode_name, ids, (*seen, kind)) for field in fields}
    return {} if kind is dict else [] if kind is list else None


def _is_object(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, TypeError):
        return False
    return True


def _plausible(name: str) -> tuple[Any, ...]:
    return {
        "cidr": ("10.77.0.0/24",),
        "url": ("http://127.0.0.1/",),
        "public_key": (KEY,),
        "methods": ("password",),
        "source_type": ("blank",),
        "policy": ("affinity",),
        "networks": ("none",),
    }.get(name, ())


_ODD = object()


def _mutants(kind: Any, name: str, ids: dict[str, str], seen: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Give a value of a type with each part of it in turn replaced by something odd."""
    yield _ODD
    origin, members = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        yield from _inner(_mutants(members[0], name, ids, seen))
    elif origin in {typing.Union, types.UnionType}:
        for member in members:
            yield from _inner(_mutants(member, name, ids, seen))
    elif origin in {list, tuple}:
        yield from ([mutant] for mutant in _mutants(members[0], name, ids, seen))
    elif origin is dict:
        yield from ({"k": mutant} for mutant in _mutants(members[1], "", ids, seen))
    elif _is_object(kind) and kind not in seen:
        base = _sample(kind, name, ids)
        for field in msgspec.structs.fields(kind):
            for mutant in _mutants(field.type, field.encode_name, ids, (*seen, kind)):
                yield {**base, field.encode_name: mutant}


def _inner(mutants: Iterator[Any]) -> Iterator[Any]:
    return (mutant for mutant in mutants if mutant is not _ODD)


def _mutants_of(value: Any) -> Iterator[Any]:
    """Do the same with a value whose type is not known."""
    yield _ODD
    if isinstance(value, dict):
        for key, part in value.items():
            yield from ({**value, key: mutant} for mutant in _mutants_of(part))
    elif isinstance(value, list) and value:
        yield from ([mutant, *value[1:]] for mutant in _mutants_of(value[0]))


def _written(value: Any, odd: str = "") -> bytes:
    if value is _ODD:
        return odd.encode()
    if isinstance(value, dict):
        return b"{" + b",".join(msgspec.json.encode(k) + b":" + _written(v, odd) for k, v in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(_written(each, odd) for each in value) + b"]"
    return msgspec.json.encode(value)


class Shape:
    """A body that is right, and such as have one odd value in them."""

    def __init__(self, key: str | None, base: dict[str, Any], beside: dict[str, Any]) -> None:
        self.base = base if key is None else {key: base, **beside}
        self._key, self._inner, self._beside = key, base, beside
        self.odd: list[Any] = []

    def within(self, name: str, mutants: Iterator[Any]) -> None:
        fields = ({**self._inner, name: mutant} for mutant in mutants)
        self.odd += [each if self._key is None else {self._key: each, **self._beside} for each in fields]

    def beside(self, name: str, mutants: Iterator[Any]) -> None:
        self.odd += [{**self.base, name: mutant} for mutant in mutants]


def _of_table(table: Body, version: tuple[int, int], ids: dict[str, str]) -> Shape:
    """Return a body that fits a table: what is required, and each of its fields in turn made odd."""
    inner, outer = ([f for f in fields if f.since <= version <= f.until] for fields in (table.fields, table.siblings))
    base, beside = ({f.name: _sample(f.type, f.name, ids) for f in fields if f.required} for fields in (inner, outer))
    if any(f.name == "imageRef" for f in inner):
        base["imageRef"] = ids["image_id"]
    if not base and (said := next((f for f in inner if f.name == "description"), None)):
        base[said.name] = _sample(said.type, said.name, ids)  # a change of nothing is refused
    shape = Shape(table.key, base, beside)
    for f in inner:
        shape.within(f.name, _mutants(f.type, f.name, ids))
    for f in outer:
        shape.beside(f.name, _mutants(f.type, f.name, ids))
    return shape


NEW: dict[str, dict[str, Any]] = {
    "network": {"name": "n"},
    "subnet": {"ip_version": 4, "cidr": "10.88.0.0/24"},
    "port": {},
    "security_group": {"name": "g"},
    "security_group_rule": {"direction": "ingress"},
    "address_group": {"addresses": ["10.0.0.0/8"]},
    "router": {"name": "r"},
    "floatingip": {},
    "subnetpool": {"name": "p", "prefixes": ["10.67.0.0/16"]},
    "address_scope": {"name": "s", "ip_version": 4},
}
"""What a noun of the network API is made of, besides what it belongs to."""

ROUTE = {"destination": "10.9.0.0/24", "nexthop": "10.7.0.9"}
DEEDS: dict[str, dict[str, Any]] = {
    "add_addresses": {"address_group": {"addresses": ["10.1.0.0/16"]}},
    "remove_addresses": {"address_group": {"addresses": ["10.1.0.0/16"]}},
    "add_router_interface": {"subnet_id": "subnet_id", "port_id": None},
    "add_extraroutes": {"router": {"routes": [ROUTE]}},
    "remove_extraroutes": {"router": {"routes": [ROUTE]}},
    "remove_router_interface": {"subnet_id": "subnet_id", "port_id": None},
    "add_prefixes": {"prefixes": ["10.68.0.0/16"]},
    "port_forwardings": {
        "port_forwarding": {
            "protocol": "tcp", "internal_ip_address": "10.7.0.9", "internal_port": 80, "external_port": 8080,
            "internal_port_id": "port_id", "description": "d", "internal_port_range": None, "external_port_range": None,
        }
    },
    "agents": {"agent": {"admin_state_up": True, "description": "d"}},
    "dhcp-networks": {"network_id": "network_id"},
    "l3-routers": {"router_id": "router_id"},
    "quotas": {"quota": {"port": 100, "network": 100}},
    "tags": {"tags": ["t"]},
}  # fmt: skip
"""What further calls of the network API take, by what their paths end with but for ids; ids by their names."""


def _of_deed(ids: dict[str, str], route: Route) -> Shape:
    """Return the body of a call of the network API that is about more or less than a noun."""
    (what, *_) = (part for part in reversed(route.path.split("/")) if not part.startswith("{"))
    shape = Shape(None, _with_ids(DEEDS[what], ids), {})
    shape.odd = list(_mutants_of(shape.base))
    return shape


def _with_ids(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_ids(part, ids) for key, part in value.items()}
    return ids[value] if isinstance(value, str) and value.endswith("_id") else value


async def _of_noun(caller: Any, route: Route) -> list[Shape]:
    """Return bodies of a call of the network API: of a noun, whose attributes are those that it shows, or a deed."""
    noun = noun_of(route).removesuffix("_id")
    if noun not in NEW or route.path.removesuffix("/{id}").count("/") > 2:  # what belongs to a thing is not the thing
        return [_of_deed(caller.ids, route)]
    base = {**NEW[noun], **{name: caller.ids[name] for name in BELONGS.get(noun, ())}} if route.method == "POST" else {}
    status, reply = await caller.send("network", "GET", route.path.removesuffix("/{id}"))
    (items,) = (part for part in msgspec.json.decode(reply).values() if isinstance(part, list))
    shape = Shape(noun, base, {})
    for name in dict.fromkeys(name for item in items for name in item):
        filled = next((item[name] for item in items if item.get(name)), None)
        shape.within(name, _mutants_of(filled))
    assert status == 200 and shape.odd
    return [shape]


async def _of_shown(surface: Surface, caller: Any, path: str) -> list[Shape]:
    """Return bodies that are what a GET of the same path shows."""
    status, reply = await caller.send(surface.name, "GET", path)
    shown = _decoded(reply)
    if status != 200 or not isinstance(shown, dict):
        return []
    shape = Shape(None, shown, {})
    shape.odd = list(_mutants_of(shown))
    return [shape]


BELONGS = {
    "subnet": ("network_id",),
    "port": ("network_id",),
    "security_group_rule": ("security_group_id",),
    "floatingip": ("floating_network_id",),
}
OF_SERVER = "/v2.1/servers/{"


async def _usable(embedded: EmbeddedCloud, admin: Any, member: Any, ids: dict[str, str]) -> str:
    """Return the server of the routes before if it runs and nothing is being done with it, or else a new one."""
    await embedded.settled()
    path = f"/v2.1/servers/{ids['server_id']}"
    status, shown = await admin.send("compute", "GET", path)
    if status == 200:
        server = _decoded(shown)["server"]
        if (server["status"], server["OS-EXT-STS:task_state"]) == ("ACTIVE", None):
            return ids["server_id"]
        await admin.send("compute", "POST", f"{path}/action", body=b'{"forceDelete": null}')
        await embedded.settled()
    return await serve(member, ids)


@pytest.mark.parametrize(("surface", "version"), AT, ids=NAMES)
async def test_no_body_makes_a_server_error(
    callers: Any, embedded: EmbeddedCloud, watched: Watched, surface: Surface, version: tuple[int, int]
) -> None:
    admin, member = callers
    failed, tables, fitting = [], 0, 0
    ids = {**admin.ids, **(admin.others if surface.name == "identity" else {})}
    for route in routes_of(surface, version):
        if route.method in {"GET", "HEAD", "DELETE"}:
            continue
        if route.path.startswith(OF_SERVER):
            ids = {**ids, "server_id": await _usable(embedded, admin, member, ids)}
        path = path_of(route, ids)
        watched.clear()
        odd = list(BODIES)
        if route.action is not None:
            odd += [b'{"%s": %s}' % (route.action.encode(), value.encode()) for value in (*JSON, "{}")]
        for body in odd:
            for caller in callers:
                status, _ = await caller.send(surface.name, route.method, path, body=body, version=version)
                failed += [f"{route.method} {path} {body[:80]!r}: {status}"] if status >= 500 else []
        shapes = [_of_table(table, version, ids) for table in dict.fromkeys(watched.tables)]
        shapes += await _of_noun(member, route) if surface.name == "network" else []
        shapes = shapes or (await _of_shown(surface, admin, path) if route.method == "PUT" else [])
        for shape in shapes:
            tables += route.policy not in UNMET
            if route.path.startswith(OF_SERVER):
                ids = {**ids, "server_id": await _usable(embedded, admin, member, ids)}
                path = path_of(route, ids)
            found = [
                (await who.send(surface.name, route.method, path, body=_written(shape.base), version=version))[0]
                for who in callers
            ]
            fitting += min(found) < 300
            for number, body in enumerate(_written(each, value) for each in shape.odd for value in JSON):
                caller = member if number % 4 == 0 or surface.name == "network" else admin
                status, _ = await caller.send(surface.name, route.method, path, body=body, version=version)
                failed += [f"{route.method} {path} {body[:160]!r}: {status}"] if status >= 500 else []
    assert failed == []
    assert fitting * 3 >= tables * 2, "most bodies have to be right but for the odd value"
    assert tables > 0 or surface.name in {"placement", "floe"}
