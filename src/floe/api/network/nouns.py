"""The nouns of the network API: what is told apart by data, and the calls that all of them answer alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from floe.api.kit import policy
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply, plain_json
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.api.network.lists import Filters, chosen, list_reply, listing_of
from floe.api.network.rules import writer
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.listing import Listing

T = TypeVar("T")
Fields = dict[str, Any]

_ProjectId = Annotated[str, Meta(max_length=64)]
OWNER = (Field("project_id", _ProjectId), Field("tenant_id", _ProjectId))
"""Fields of a create: whom the thing is for. Both mean the same."""
SHOWN_OWNER: tuple[Shown[Any], ...] = (
    Shown("project_id", lambda thing: thing.project_id),
    Shown("tenant_id", lambda thing: thing.project_id),
)
SHOWN_REVISION: tuple[Shown[Any], ...] = (
    Shown("created_at", lambda thing: _moment(thing.created_at)),
    Shown("updated_at", lambda thing: _moment(thing.updated_at)),
    Shown("revision_number", lambda thing: thing.revision),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[T]):
    """How a thing is changed: the fields a client may send, and what `floe.cloud` does with them."""

    body: Body
    apply: Callable[[Cloud, Context, str, Fields], Awaitable[T]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun(Generic[T]):
    """One kind of thing: its words, its tables, and what `floe.cloud` does for it.

    `read` turns the fields that a client sent, at a create or a change, into the core's. Parameters of a list that
    are no filter on a field stand in `besides`, and `find` reads them from the call. Without `change` the noun is as it
    was made.
    """

    name: str
    plural: str
    shape: Shape[T]
    body: Body
    read: Callable[[Fields, Context], Fields]
    create: Callable[[Cloud, Context, list[Fields]], Awaitable[Sequence[T]]]
    filters: Filters
    admin_filters: Filters = field(default_factory=dict)
    besides: frozenset[str] = frozenset()
    find: Callable[[Call, Listing], Awaitable[Sequence[T]]]
    show: Callable[[Cloud, Context, str], Awaitable[T]]
    change: Change[T] | None = None
    delete: Callable[[Cloud, Context, str], Awaitable[None]]


def routes(noun: Noun[T]) -> tuple[Route, ...]:
    """Return the calls of a noun."""
    name, every = noun.name, f"/v2.0/{noun.plural.replace('_', '-')}"
    one = every + "/{id}"
    changes = () if noun.change is None else (Route("PUT", one, partial(_update, noun, noun.change), f"update_{name}"),)
    return (
        Route("GET", every, partial(_index, noun), f"get_{name}"),
        Route("POST", every, partial(_create, noun), f"create_{name}"),
        Route("GET", one, partial(_show, noun), f"get_{name}"),
        *changes,
        Route("DELETE", one, partial(_delete, noun), f"delete_{name}"),
    )


def policies(noun: Noun[T]) -> policy.Policies:
    """Return who may do what with a noun."""
    changes = ("create", "update", "delete") if noun.change is not None else ("create", "delete")
    return {f"get_{noun.name}": policy.project_reader, **{f"{what}_{noun.name}": writer for what in changes}}


def renamed(sent: Mapping[str, Any], names: Mapping[str, str]) -> Fields:
    """Return the fields that were sent by their names in the core. Raises Invalid for two owners that differ."""
    owners = {sent[key] for key in ("project_id", "tenant_id") if sent.get(key)}
    if len(owners) > 1:
        raise Invalid("Invalid input for tenant_id: it differs from project_id, which means the same.")
    found = {inner: sent[wire] for wire, inner in names.items() if wire in sent}
    if owners:
        found["project_id"] = owners.pop()
    return found


# -- the calls ------------------------------------------------------------------------------------------


async def _create(noun: Noun[T], call: Call) -> Reply:
    """Make one thing, or several that are sent as a list under the plural; all of them or none."""
    sent, several = await _sent(call, noun.body, noun.plural)
    made = await noun.create(call.cloud, call.context, [noun.read(item, call.context) for item in sent])
    shown = [_shown(noun, call, thing) for thing in made]
    return Reply(201, {noun.plural: shown} if several else {noun.name: shown[0]})


async def _index(noun: Noun[T], call: Call) -> Reply:
    """List things."""
    filters = {**noun.filters, **noun.admin_filters} if call.context.is_admin else noun.filters
    listing = listing_of(call, filters, besides=noun.besides)
    found = await noun.find(call, listing)
    return list_reply(call, noun.plural, [_shown(noun, call, thing) for thing in found], listing)


async def _show(noun: Noun[T], call: Call) -> Reply:
    """Show a thing."""
    thing = await noun.show(call.cloud, call.context, call.params["id"])
    return Reply(body={noun.name: chosen(call, _shown(noun, call, thing))})


async def _update(noun: Noun[T], change: Change[T], call: Call) -> Reply:
    """Change a thing."""
    asked = noun.read(change.body.read(await call.raw()), call.context)
    thing = await change.apply(call.cloud, call.context, call.params["id"], asked)
    return Reply(body={noun.name: _shown(noun, call, thing)})


async def _delete(noun: Noun[T], call: Call) -> Reply:
    """Remove a thing."""
    await noun.delete(call.cloud, call.context, call.params["id"])
    return Reply(204)


async def _sent(call: Call, body: Body, plural: str) -> tuple[list[Fields], bool]:
    """Read the body of a create: one thing, or a list of them under the plural key (True). Raises Invalid."""
    raw = await call.raw()
    top = plain_json(raw) if f'"{plural}"'.encode() in raw else None
    if not isinstance(top, dict) or plural not in top:
        return [body.read(raw)], False
    if len(top) != 1 or not isinstance(top[plural], list) or not top[plural]:
        raise Invalid(f"Invalid input for {plural}: a list with at least one object is needed, and nothing beside it.")
    return [body.read(msgspec.json.encode({body.key: item})) for item in top[plural]], True


def _shown(noun: Noun[T], call: Call, thing: T) -> Fields:
    return noun.shape.show(thing, holds=frozenset({"admin"}) if call.context.is_admin else frozenset())


def _moment(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
