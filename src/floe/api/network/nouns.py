"""The nouns of the network API: what is told apart by data, and the calls that all of them answer alike."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply, plain_json
from floe.api.kit.routing import Route
from floe.api.kit.values import whole
from floe.api.network.attributes import Attributes, Fields
from floe.api.network.converters import malformed
from floe.api.network.lists import chosen, list_reply, listing_of
from floe.api.network.rules import onlooker, writer
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Invalid, NotFound
from floe.core.listing import Listing

T = TypeVar("T")

_TAG = re.compile(r'(W/)?"([^"]*)"')
_REVISION = "revision_number="
_AT_ONCE = 200
"""Things that one request may make."""


Update = Callable[[Cloud, Context, str, Fields, int | None], Awaitable[T]]
Delete = Callable[[Cloud, Context, str, int | None], Awaitable[None]]
"""What is done with a thing by its id, if it is at the revision that the caller has seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun(Generic[T]):
    """One kind of thing: its words, its attributes, and what `floe.cloud` does for it.

    Parameters of a list that are no filter on a field stand in `besides`, and `find` reads them from the call.
    Without `update` the noun is as it was made.
    """

    name: str
    plural: str
    attributes: Attributes[T]
    create: Callable[[Cloud, Context, list[Fields]], Awaitable[Sequence[T]]]
    besides: frozenset[str] = frozenset()
    find: Callable[[Call, Context, Listing], Awaitable[Sequence[T]]]
    show: Callable[[Cloud, Context, str], Awaitable[T]]
    update: Update[T] | None = None
    delete: Delete


def routes(noun: Noun[T]) -> tuple[Route, ...]:
    """Return the calls of a noun."""
    name, every = noun.name, f"/v2.0/{noun.plural.replace('_', '-')}"
    one = every + "/{id}"
    changes = () if noun.update is None else (Route("PUT", one, partial(_update, noun, noun.update), f"update_{name}"),)
    return (
        Route("GET", every, partial(_index, noun), f"get_{name}"),
        Route("POST", every, partial(_create, noun), f"create_{name}"),
        Route("GET", one, partial(_show, noun), f"get_{name}"),
        *changes,
        Route("DELETE", one, partial(_delete, noun), f"delete_{name}"),
    )


def policies(noun: Noun[T]) -> policy.Policies:
    """Return who may do what with a noun: all may look, and see what is there for them."""
    changes = ("create", "update", "delete") if noun.update is not None else ("create", "delete")
    return {f"get_{noun.name}": policy.authenticated, **{f"{what}_{noun.name}": writer for what in changes}}


async def sent_object(call: Call, name: str) -> Fields:
    """Return the object of that name in the body; what stands beside it is not looked at. Raises Invalid."""
    return _object(await _body(call), name)


# -- the calls ------------------------------------------------------------------------------------------


async def _create(noun: Noun[T], call: Call) -> Reply:
    """Make one thing, or several that are sent as a list under the plural; all of them or none."""
    body = await _body(call)
    several = noun.plural in body
    sent = _objects(body[noun.plural], noun) if several else [_object(body, noun.name)]
    made = await noun.create(call.cloud, call.context, [noun.attributes.read_new(item) for item in sent])
    shown = [_shown(noun, call, thing) for thing in made]
    return Reply(201, {noun.plural: shown} if several else {noun.name: shown[0]})


async def _index(noun: Noun[T], call: Call) -> Reply:
    """List things."""
    listing = listing_of(call, noun.attributes, _holds(call), besides=noun.besides)
    context = onlooker(call.context)
    found = [] if listing is None or context is None else await noun.find(call, context, listing)
    return list_reply(call, noun.plural, found, partial(_shown, noun, call), listing)


async def _show(noun: Noun[T], call: Call) -> Reply:
    """Show a thing."""
    context = onlooker(call.context)
    if context is None:
        raise NotFound(noun.name.replace("_", " "), call.params["id"])
    thing = await noun.show(call.cloud, context, call.params["id"])
    return Reply(body={noun.name: chosen(call, _shown(noun, call, thing))})


async def _update(noun: Noun[T], update: Update[T], call: Call) -> Reply:
    """Change a thing."""
    asked = noun.attributes.read_change(await sent_object(call, noun.name))
    thing = await update(call.cloud, call.context, call.params["id"], asked, _seen(call))
    return Reply(body={noun.name: _shown(noun, call, thing)})


async def _delete(noun: Noun[T], call: Call) -> Reply:
    """Remove a thing."""
    if await call.raw():
        raise malformed("Request body is not supported in DELETE.")
    await noun.delete(call.cloud, call.context, call.params["id"], _seen(call))
    return Reply(204)


async def _body(call: Call) -> dict[str, Any]:
    body = plain_json(await call.raw())
    if not isinstance(body, dict):
        raise malformed("The request body must be a JSON object.")
    return body


def _object(body: dict[str, Any], name: str) -> Fields:
    found = body.get(name)
    if found is None:
        raise malformed(f"Unable to find '{name}' in request body.")
    if not isinstance(found, dict):
        raise malformed(f"Object '{name}' contains invalid data: it must be a JSON object.")
    return found


def _objects(items: Any, noun: Noun[T]) -> list[Fields]:
    """Return the objects of a list; each may stand under the noun's name once more."""
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise malformed(f"Invalid input for {noun.plural}: a list with at least one object is needed.")
    if len(items) > _AT_ONCE:
        raise malformed(
            f"Invalid input for {noun.plural}: {len(items)} objects; at most {_AT_ONCE} can be made at once."
        )
    return [_object(item, noun.name) if noun.name in item else item for item in items]


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


def _shown(noun: Noun[T], call: Call, thing: T) -> Fields:
    return noun.attributes.shape.show(thing, holds=_holds(call))
