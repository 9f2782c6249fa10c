"""How the identity API speaks of any noun, as Keystone does: links to itself, attributes of clients' own, PATCH."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from floe.api.identity.filters import Filters
from floe.api.identity.replies import with_link, with_properties
from floe.api.kit.body import Body
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, Rule, authenticated
from floe.api.kit.resource import Create, Delete, Dialect, Resource, Update, Use, Values
from floe.api.kit.routing import Route
from floe.core.listing import Listing


class Thing(Protocol):
    """What a thing of any kind has."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def properties(self) -> Any:
        """The attributes that clients keep with it, by name."""


T = TypeVar("T", bound=Thing)


def keystone(
    filters: Filters, *nullable: str, writes: Rule, lists: Rule = authenticated, gets: Rule = authenticated
) -> Dialect:
    """Return how Keystone speaks of a noun, whose lists take `filters`; `writes`, `lists` and `gets` say who may.

    Of `nullable` fields a null is kept as such; in others it is an empty text. All may be shown a thing: whether one
    is, the cloud says.
    """
    speech = _Speech(filters, nullable)
    may = {"list": lists, "get": gets, "create": writes, "update": writes, "delete": writes}

    def policies(resource: Resource[Any]) -> Policies:
        return {name: may[what] for _, _, what, name, _ in speech.calls(resource)}

    return Dialect(speech.routes, policies)


def shown(resource: Resource[T], call: Call, thing: T) -> Values:
    """Return a thing as it is on the wire."""
    path = f"/v3/{resource.plural}/{thing.id}"
    return with_link(call, path, {**thing.properties, **resource.fields.shape.show(thing)})


@dataclass(frozen=True, slots=True)
class _Speech:
    filters: Filters
    nullable: tuple[str, ...]

    def routes(self, resource: Resource[Any]) -> tuple[Route, ...]:
        """Return the calls of a noun."""
        return tuple(Route(method, path, handler, name) for method, path, _, name, handler in self.calls(resource))

    def calls(self, resource: Resource[Any]) -> Iterator[tuple[str, str, str, str, Callable[[Call], Awaitable[Reply]]]]:
        """Give (method, path, what it does, policy, handler)."""
        name, every = resource.name, f"/v3/{resource.plural}"
        one = f"{every}/{{{name}_id}}"
        yield "GET", every, "list", f"identity:list_{resource.plural}", partial(self._index, resource)
        if resource.create is not None:
            new = resource.fields.body(name, Use.CREATE, strict=False)
            handler = partial(self._create, resource, resource.create, new)
            yield "POST", every, "create", f"identity:create_{name}", handler
        yield "GET", one, "get", f"identity:get_{name}", partial(self._show, resource)
        if resource.update is not None:
            changes = resource.fields.body(name, Use.UPDATE, strict=False)
            handler = partial(self._update, resource, resource.update, changes)
            yield "PATCH", one, "update", f"identity:update_{name}", handler
        if resource.delete is not None:
            yield "DELETE", one, "delete", f"identity:delete_{name}", partial(self._delete, resource, resource.delete)

    async def _index(self, resource: Resource[T], call: Call) -> Reply:
        also = {name: call.one(name) for name in ("domain_id", "parent_id", "name")}
        found = await resource.find(call.cloud, call.context, Listing(also=also))
        each = (shown(resource, call, thing) for thing in found)
        return await self.filters.listed(call, resource.plural, f"/v3/{resource.plural}", each)

    async def _create(self, resource: Resource[T], create: Create[T], new: Body, call: Call) -> Reply:
        asked = _core(resource, await with_properties(call, new, *self.nullable))
        (made,) = await create(call.cloud, call.context, [asked])
        return Reply(201, {resource.name: shown(resource, call, made)})

    async def _show(self, resource: Resource[T], call: Call) -> Reply:
        found = await resource.show(call.cloud, call.context, _ident(resource, call))
        return Reply(body={resource.name: shown(resource, call, found)})

    async def _update(self, resource: Resource[T], update: Update[T], changes: Body, call: Call) -> Reply:
        ident = _ident(resource, call)
        asked = _core(resource, await with_properties(call, changes, *self.nullable, own_id=ident))
        changed = await update(call.cloud, call.context, ident, asked, None)
        return Reply(body={resource.name: shown(resource, call, changed)})

    async def _delete(self, resource: Resource[T], delete: Delete, call: Call) -> Reply:
        await delete(call.cloud, call.context, _ident(resource, call), None)
        return Reply(204)


def _ident(resource: Resource[T], call: Call) -> str:
    return call.params[f"{resource.name}_id"]


def _core(resource: Resource[T], sent: Values) -> Values:
    """Return fields by the core's names; clients' own attributes are one of them."""
    properties = {name: sent.pop(name) for name in ("properties",) if name in sent}
    return {**resource.fields.read(sent), **properties}
