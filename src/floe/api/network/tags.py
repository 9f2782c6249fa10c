"""Tags of any noun, `/v2.0/{collection}/{id}/tags`, and the filters of lists by them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from floe.api.kit.call import Call, Reply, plain_json
from floe.api.kit.query import few, items
from floe.api.kit.resource import Resource, Retag
from floe.api.network.converters import malformed, tag, tag_list
from floe.api.network.rules import onlooker
from floe.core.errors import NotFound


def _several(name: str) -> Callable[[list[str]], list[str]]:
    return lambda texts: few([item for text in texts for item in items(text, name)], name)


TAG_FILTERS: Mapping[str, Callable[[list[str]], Any]] = {
    name: _several(name) for name in ("tags", "tags-any", "not-tags", "not-tags-any")
}
"""`tags=a,b` is a thing that has both, `tags-any=a,b` one that has either; `not-` turns that round."""


def tag_calls(
    resource: Resource[Any], retag: Retag
) -> Iterator[tuple[str, str, Callable[[Call], Awaitable[Reply]], str]]:
    """Give (method, path below `tags`, handler, what it does) of each call."""
    yield "GET", "", partial(_index, resource), "get"
    yield "POST", "", partial(_add_all, retag), "create"
    yield "PUT", "", partial(_replace, retag), "update"
    yield "DELETE", "", partial(_clear, retag), "delete"
    yield "GET", "/{tag}", partial(_show, resource), "get"
    yield "PUT", "/{tag}", partial(_add, retag), "update"
    yield "DELETE", "/{tag}", partial(_remove, retag), "delete"


async def _index(resource: Resource[Any], call: Call) -> Reply:
    """List all tags."""
    return Reply(body={"tags": await _tags(resource, call)})


async def _add_all(retag: Retag, call: Call) -> Reply:
    """Have these tags besides; those that are there already stay."""
    sent = await _sent(call)
    tags = await retag(call.cloud, call.context, call.params["id"], lambda tags: (*tags, *sent))
    return Reply(201, {"tags": tags})


async def _replace(retag: Retag, call: Call) -> Reply:
    """Make these all the tags."""
    tags = await _sent(call)
    return Reply(body={"tags": await retag(call.cloud, call.context, call.params["id"], lambda _: tags)})


async def _clear(retag: Retag, call: Call) -> Reply:
    """Have no tags."""
    await retag(call.cloud, call.context, call.params["id"], lambda _: ())
    return Reply(204)


async def _show(resource: Resource[Any], call: Call) -> Reply:
    """Say whether there is such a tag."""
    asked = _asked(call)
    if asked not in await _tags(resource, call):
        raise _not_found(asked)
    return Reply(204)


async def _add(retag: Retag, call: Call) -> Reply:
    """Have this tag besides."""
    asked = _asked(call)
    await retag(call.cloud, call.context, call.params["id"], lambda tags: (*tags, asked))
    return Reply(201)


async def _remove(retag: Retag, call: Call) -> Reply:
    """Have this tag no longer."""
    asked = _asked(call)

    def without(tags: tuple[str, ...]) -> tuple[str, ...]:
        if asked not in tags:
            raise _not_found(asked)
        return tuple(each for each in tags if each != asked)

    await retag(call.cloud, call.context, call.params["id"], without)
    return Reply(204)


async def _tags(resource: Resource[Any], call: Call) -> tuple[str, ...]:
    context = onlooker(call.context)
    if context is None:
        raise NotFound(resource.name.replace("_", " "), call.params["id"])
    found: tuple[str, ...] = (await resource.show(call.cloud, context, call.params["id"])).tags
    return found


async def _sent(call: Call) -> tuple[str, ...]:
    body = plain_json(await call.raw())
    if not isinstance(body, dict) or "tags" not in body:
        raise malformed("Invalid tags body: it must be an object with a list of texts, 'tags'.")
    return tuple(tag_list(body["tags"], "tags"))


def _asked(call: Call) -> str:
    return tag(call.params["tag"], "tag")


def _not_found(asked: str) -> NotFound:
    return NotFound("tag", asked)
