"""Whatever stands in a path or is a thing's name, the reply is well formed and its links lead to the thing."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec
import pytest
from tests.functional.odd.routes import latest_of

from floe.api.app import SURFACES
from floe.api.kit.call import Reply
from floe.api.kit.surface import Surface

HOSTILE = (
    "x\n", "\r\nset-cookie: a=b", "a\0b",
    'a"b', "日本", "😀", "ÿ", "%2F", "%0a", "a b", "?a=b", "#x", "a%", "..", "\x7f",
    "\u2028", "a+b", "a;b", "<a>", "a/b",
)  # fmt: skip
RAW = ("%ff", "a%2Fb", "%00", "%0d%0a%0d%0a", "%", "%c0%af", "%ed%a0%80", "%F0%9F%98%80")
LINK = re.compile(r"https?://[!-~]+|/v2/[!-~]*")


def _links(body: Any) -> list[str]:
    """Return all links within a body."""
    if isinstance(body, list):
        return [link for item in body for link in _links(item)]
    if not isinstance(body, dict):
        return []
    own = [value for key, value in body.items() if key in {"href", "self", "next", "previous"} and value]
    return [link for link in own if isinstance(link, str)] + [x for item in body.values() for x in _links(item)]


def _fit(reply: bytes) -> list[str]:
    try:
        body = msgspec.json.decode(reply)
    except msgspec.DecodeError:
        return []
    return [link for link in _links(body) if not LINK.fullmatch(link) or '"' in link or "<" in link]


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
async def test_every_path_with_something_hostile_in_it_is_answered_well_formed(callers: Any, surface: Surface) -> None:
    admin, _ = callers
    version = latest_of(surface)
    failed = []
    for route in surface.routes:
        if not route.since <= version <= route.until:
            continue
        for name in re.findall(r"\{(\w+)\}", route.path):
            for odd in (*(quote(text, safe="") for text in HOSTILE), *RAW):
                known = {**admin.ids, "name": "key"}
                path = re.sub(
                    r"\{(\w+)\}",
                    lambda found, odd=odd, name=name, known=known: (
                        odd if found[1] == name else known.get(found[1], "x")
                    ),
                    route.path,
                )
                body = None if route.method in {"GET", "HEAD", "DELETE"} else b"{}"
                status, reply = await admin.send(surface.name, route.method, path, body=body)
                bad = _fit(reply)
                failed += [f"{route.method} {path}: {status} {bad}"] if status >= 500 or bad else []
    assert failed == []


@pytest.mark.parametrize("tag", [text for text in HOSTILE if "/" not in text])
async def test_the_location_of_a_tag_leads_to_it(callers: Any, tag: str) -> None:
    _, member = callers
    tags = f"/v2.1/servers/{member.ids['server_id']}/tags"
    status, _ = await member.send("compute", "PUT", f"{tags}/{quote(tag, safe='')}")
    _, listed = await member.send("compute", "GET", tags)
    assert (tag in msgspec.json.decode(listed)["tags"]) == (status == 201)
    if status == 201:
        await member.send("compute", "PUT", f"{tags}/again")
        status, _ = await member.send("compute", "DELETE", f"{tags}/{quote(tag, safe='')}")
        assert status == 204
        await member.send("compute", "PUT", f"{tags}/{quote(tag, safe='')}")
        location = member.reply_headers[b"location"].decode()
        path = urlsplit(location).path
        assert unquote(path).endswith(f"/tags/{tag}")
        assert (await member.send("compute", "GET", path.removeprefix("/compute")))[0] == 204


@pytest.mark.parametrize("name", HOSTILE)
async def test_links_of_what_has_a_hostile_name_lead_to_it(callers: Any, name: str) -> None:
    admin, _ = callers
    for path, key, fields in (
        ("/v3/regions", "region", {"id": name}),
        ("/v3/projects", "project", {"name": name, "tags": [name]}),
        ("/v3/users", "user", {"name": name}),
    ):
        status, reply = await admin.send("identity", "POST", path, body=msgspec.json.encode({key: fields}))
        if status != 201:
            assert status in {400, 409}
            continue
        link = msgspec.json.decode(reply)[key]["links"]["self"]
        assert LINK.fullmatch(link)
        at = urlsplit(link).path.removeprefix("/identity")
        assert (await admin.send("identity", "GET", at))[0] == 200, link
        listed = await admin.send("identity", "GET", path, query="limit=1&name__contains=" + quote(name, safe=""))
        assert _fit(listed[1]) == []


@pytest.mark.parametrize("value", [*HOSTILE, "\ud800", "a\tb", "\x85"])
def test_a_header_holds_printable_ascii_alone(value: str) -> None:
    ((name, sent),) = Reply(headers={"location": value}).fields()
    assert name == b"location"
    assert re.fullmatch(rb"[\x20-\x7e]*", sent)
    if value.isascii() and value.isprintable():
        assert sent.decode() == value
