"""How the network API speaks of any noun, as Neutron does: its calls, their bodies, and who may make them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply, plain_json
from floe.api.kit.resource import Create, Delete, Fields, Member, Resource, Update, Use, Values
from floe.api.kit.routing import Route
from floe.api.kit.shape import Show
from floe.api.kit.values import whole
from floe.api.network.converters import malformed
from floe.api.network.lists import chosen, list_reply, listing_of
from floe.api.network.rules import onlooker, writer
from floe.api.network.tags import TAG_FILTERS, tag_calls
from floe.core.errors import Invalid, NotFound

T = TypeVar("T")

_TAG = re.compile(r'(W/)?"([^"]*)"')
_REVISION = "revision_number="
_ABOVE = "above"
"""What the id of that is called in a path which a thing is a part of."""
_AT_ONCE = 200
"""Things that one request may make."""


def path_of(resource: Resource[Any]) -> str:
    """Return where the things of a noun are; parts of others are below those, by Neutron's own spelling."""
    if resource.above is not None:
        return f"/v2.0/{resource.above.plural}/{{{_ABOVE}}}/{resource.plural}"
    return f"/v2.0/{resource.plural.replace('_', '-')}"


def read_new(fields: Fields[T], sent: Mapping[str, Any]) -> Values:
    """Return what a create asks for, by the core's names. Raises Invalid."""
    _check_known(fields, sent)
    for name, wire in fields.by_name.items():
        if wire.required and name not in sent:
            raise malformed(f"Failed to parse request. Required attribute '{name}' not specified.")
        if Use.CREATE not in wire.use and name in sent:
            raise malformed(f"Attribute '{name}' not allowed in POST.")
    return fields.read(sent)


def read_change(fields: Fields[T], sent: Mapping[str, Any]) -> Values:
    """Return what an update asks for, by the core's names. Raises Invalid."""
    _check_known(fields, sent)
    for name in sent:
        if Use.UPDATE not in fields.by_name[name].use:
            raise malformed(f"Cannot update read-only attribute {name}.")
    return fields.read(sent)


async def sent_object(call: Call, name: str) -> Values:
    """Return the object of that name in the body; what stands beside it is not looked at. Raises Invalid."""
    return _object(await _body(call), name)


class Neutron(msgspec.Struct, frozen=True):
    """How Neutron speaks of all nouns alike."""

    def routes(self, resource: Resource[Any]) -> tuple[Route, ...]:
        """Return the calls of a noun."""
        every = path_of(resource)
        return tuple(Route(method, every + path, handler, rule) for method, path, handler, rule in _calls(resource))

    def policies(self, resource: Resource[Any]) -> policy.Policies:
        """All may look, and see what is there for them."""
        rules = {rule for *_, rule in _calls(resource)}
        return {rule: policy.authenticated if rule.startswith("get_") else writer for rule in sorted(rules)}


NEUTRON = Neutron()


def _calls(resource: Resource[Any]) -> Iterator[tuple[str, str, Callable[[Call], Awaitable[Reply]], str]]:
    """Give (method, path below the collection's, handler, policy)."""
    name = resource.name
    yield "GET", "", partial(_index, resource), f"get_{name}"
    if resource.create is not None:
        yield "POST", "", partial(_create, resource, resource.create), f"create_{name}"
    yield "GET", "/{id}", partial(_show, resource), f"get_{name}"
    if resource.update is not None:
        yield "PUT", "/{id}", partial(_update, resource, resource.update), f"update_{name}"
    if resource.delete is not None:
        yield "DELETE", "/{id}", partial(_delete, resource, resource.delete), f"delete_{name}"
    for member in resource.members:
        yield member.method, f"/{{id}}/{member.name}", partial(_act, resource, member), f"update_{name}"
    if resource.retag is not None:
        for method, path, handler, what in tag_calls(resource, resource.retag):
            yield method, f"/{{id}}/tags{path}", handler, f"{what}_{resource.plural}_tags"


# -- the calls ------------------------------------------------------------------------------------------


async def _create(resource: Resource[T], create: Create[T], call: Call) -> Reply:
    """Make one thing, or several that are sent as a list under the plural; all of them or none."""
    body = await _body(call)
    several = resource.plural in body
    sent = _objects(body[resource.plural], resource) if several else [_object(body, resource.name)]
    part = {resource.above.field: call.params[_ABOVE]} if resource.above else {}
    made = await create(call.cloud, call.context, [{**read_new(resource.fields, item), **part} for item in sent])
    shown = list(map(show_to(resource, call), made))
    return Reply(201, {resource.plural: shown} if several else {resource.name: shown[0]})


async def _index(resource: Resource[T], call: Call) -> Reply:
    """List things."""
    besides = resource.besides if resource.retag is None else {**resource.besides, **TAG_FILTERS}
    listing = listing_of(call, resource.fields, _holds(call), besides)
    context = onlooker(call.context)
    if listing is not None and resource.above is not None:
        part = {resource.above.field: [call.params[_ABOVE]]}
        listing = msgspec.structs.replace(listing, filters={**listing.filters, **part})
    found = [] if listing is None or context is None else await resource.find(call.cloud, context, listing)
    holds = _holds(call)

    def show(things: Sequence[T], names: frozenset[str]) -> Iterator[Any]:
        return resource.fields.shape.page(things, holds=holds, names=names)

    return list_reply(call, resource.plural, found, show, listing)


async def _show(resource: Resource[T], call: Call) -> Reply:
    """Show a thing."""
    context = onlooker(call.context)
    if context is None:
        raise NotFound(resource.name.replace("_", " "), call.params["id"])
    thing = await resource.show(call.cloud, context, _ident(resource, call))
    return Reply(body={resource.name: chosen(call, show_to(resource, call)(thing))})


async def _update(resource: Resource[T], update: Update[T], call: Call) -> Reply:
    """Change a thing."""
    asked = read_change(resource.fields, await sent_object(call, resource.name))
    thing = await update(call.cloud, call.context, _ident(resource, call), asked, _seen(call))
    return Reply(body={resource.name: show_to(resource, call)(thing)})


async def _delete(resource: Resource[Any], delete: Delete, call: Call) -> Reply:
    """Remove a thing."""
    if await call.raw():
        raise malformed("Request body is not supported in DELETE.")
    await delete(call.cloud, call.context, _ident(resource, call), _seen(call))
    return Reply(204)


async def _act(resource: Resource[T], member: Member[T], call: Call) -> Reply:
    """Do what else can be done with a thing, and show it, or what came of it."""
    asked = read_new(member.takes, await _body(call))
    ident = call.params["id"]
    found = await member.act(call.cloud, call.context, ident, asked)
    if member.shown is not None:
        return Reply(body=member.shown(ident, found))
    return Reply(body={resource.name: show_to(resource, call)(found)})


def _ident(resource: Resource[Any], call: Call) -> Any:
    """Return what a thing is asked for by."""
    return call.params["id"] if resource.above is None else (call.params[_ABOVE], call.params["id"])


async def _body(call: Call) -> dict[str, Any]:
    body = plain_json(await call.raw())
    if not isinstance(body, dict):
        raise malformed("The request body must be a JSON object.")
    return body


def _object(body: dict[str, Any], name: str) -> Values:
    found = body.get(name)
    if found is None:
        raise malformed(f"Unable to find '{name}' in request body.")
    if not isinstance(found, dict):
        raise malformed(f"Object '{name}' contains invalid data: it must be a JSON object.")
    return found


def _objects(items: Any, resource: Resource[T]) -> list[Values]:
    """Return the objects of a list; each may stand under the noun's name once more."""
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise malformed(f"Invalid input for {resource.plural}: a list with at least one object is needed.")
    if len(items) > _AT_ONCE:
        raise malformed(
            f"Invalid input for {resource.plural}: {len(items)} objects; at most {_AT_ONCE} can be made at once."
        )
    return [_object(item, resource.name) if resource.name in item else item for item in items]


def _seen(call: Call) -> int | None:
    """Return the revision that `If-Match: revision_number=N` names; other tags say nothing here. Raises Invalid."""
    header = call.header("if-match") or ""
    quoted = _TAG.findall(header)
    tags = [tag for weak, tag in quoted if not weak] if quoted else [header]
    named = [tag.removeprefix(_REVISION) for tag in tags if tag.startswith(_REVISION)]
    if not named:
        return None
    if len(named) > 1:
        raise _bad_revision("several revision numbers are not supported")
    try:
        return whole(named[0].strip(), "revision_number", -(2**63), 2**63 - 1)
    except Invalid as error:
        raise _bad_revision(f"it must be {_REVISION}<int>; {error.message}") from None


def _bad_revision(wrong: str) -> Invalid:
    return Invalid(f"Bad if-match request: {wrong}.", reason="bad_revision")


def _holds(call: Call) -> frozenset[str]:
    return frozenset({"admin"}) if call.context.is_admin else frozenset()


def show_to(resource: Resource[T], call: Call) -> Show[T]:
    """Return what makes a reply of a thing, with what the caller may see of it."""
    return resource.fields.shape.at(holds=_holds(call))


def _check_known(fields: Fields[T], sent: Mapping[str, Any]) -> None:
    unknown = sorted(sent.keys() - fields.by_name.keys())
    if unknown:
        shown = ", ".join(unknown)
        raise malformed(f"Unrecognized attribute(s) '{shown if len(shown) <= 200 else shown[:200] + '...'}'.")
