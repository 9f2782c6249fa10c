"""How the identity API speaks of any noun, as Keystone does: links to itself, attributes of clients' own, PATCH."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from floe.api.identity.filters import Filters
from floe.api.identity.replies import with_link, with_properties
from floe.api.kit.body import Body
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, Rule, authenticated
from floe.api.kit.resource import Create, Delete, Resource, Update, Use, Values
from floe.api.kit.routing import Route
from floe.cloud.cloud import Cloud
from floe.core.context import Context
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


def each(create: Callable[[Cloud, Context, Values], Awaitable[T]]) -> Create[T]:
    """Return what makes several things by making them one by one, which Keystone never asks for."""

    async def make(cloud: Cloud, context: Context, asked: list[Values]) -> list[T]:
        return [await create(cloud, context, item) for item in asked]

    return make


def unseen(act: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return what changes or removes things of which there are no revisions, so that none was seen."""
    return lambda *given: act(*given[:-1])


def shown(resource: Resource[T], call: Call, thing: T, user_id: str | None = None) -> Values:
    """Return a thing as it is on the wire, of that user if it stands below one."""
    path = f"{_path(resource, user_id)}/{thing.id}"
    return with_link(call, path, {**thing.properties, **resource.fields.shape.show(thing)})


class Keystone(msgspec.Struct, frozen=True, kw_only=True):
    """How Keystone speaks of a noun, whose lists take `filters`; `writes`, `lists` and `gets` say who may.

    Of `nullable` fields a null is kept as such; in others it is an empty text. All may be shown a thing: whether one
    is, the cloud says. With `of_user` things stand below their user and clients keep nothing of their own with them;
    the cloud knows such a one by (user's id, its own).
    """

    filters: Filters
    nullable: tuple[str, ...] = ()
    writes: Rule
    lists: Rule = authenticated
    gets: Rule = authenticated
    of_user: bool = False

    def routes(self, resource: Resource[Any]) -> tuple[Route, ...]:
        """Return the calls of a noun."""
        return tuple(Route(method, path, handler, name) for method, path, _, name, handler in self._calls(resource))

    def policies(self, resource: Resource[Any]) -> Policies:
        """Return who may do what with it."""
        return {name: may for _, _, may, name, _ in self._calls(resource)}

    def _calls(
        self, resource: Resource[Any]
    ) -> Iterator[tuple[str, str, Rule, str, Callable[[Call], Awaitable[Reply]]]]:
        """Give (method, path, who may, policy, handler)."""
        name, every = resource.name, _path(resource, "{user_id}" if self.of_user else None)
        one = f"{every}/{{{name}_id}}"
        yield "GET", every, self.lists, f"identity:list_{resource.plural}", partial(self._index, resource)
        if resource.create is not None:
            new = resource.fields.body(name, Use.CREATE, strict=self.of_user)
            handler = partial(self._create, resource, resource.create, new)
            yield "POST", every, self.writes, f"identity:create_{name}", handler
        yield "GET", one, self.gets, f"identity:get_{name}", partial(self._show, resource)
        if resource.update is not None:
            changes = resource.fields.body(name, Use.UPDATE, strict=False)
            handler = partial(self._update, resource, resource.update, changes)
            yield "PATCH", one, self.writes, f"identity:update_{name}", handler
        if resource.delete is not None:
            handler = partial(self._delete, resource, resource.delete)
            yield "DELETE", one, self.writes, f"identity:delete_{name}", handler

    async def _index(self, resource: Resource[T], call: Call) -> Reply:
        user_id = call.params.get("user_id")
        also = {"user_id": user_id, **{name: call.one(name) for name in ("domain_id", "parent_id", "name")}}
        found = await resource.find(call.cloud, call.context, Listing(also=also))
        each = (self._shown(resource, call, thing) for thing in found)
        return await self.filters.listed(call, resource.plural, _path(resource, user_id), each)

    async def _create(self, resource: Resource[T], create: Create[T], new: Body, call: Call) -> Reply:
        if self.of_user:
            asked = {**resource.fields.read(new.read(await call.raw())), "user_id": call.params["user_id"]}
        else:
            asked = _core(resource, await with_properties(call, new, *self.nullable))
        (made,) = await create(call.cloud, call.context, [asked])
        return Reply(201, {resource.name: self._shown(resource, call, made)})

    async def _show(self, resource: Resource[T], call: Call) -> Reply:
        found = await resource.show(call.cloud, call.context, self._ident(resource, call))
        return Reply(body={resource.name: self._shown(resource, call, found)})

    async def _update(self, resource: Resource[T], update: Update[T], changes: Body, call: Call) -> Reply:
        ident = self._ident(resource, call)
        asked = _core(resource, await with_properties(call, changes, *self.nullable, own_id=ident))
        changed = await update(call.cloud, call.context, ident, asked, None)
        return Reply(body={resource.name: self._shown(resource, call, changed)})

    async def _delete(self, resource: Resource[T], delete: Delete, call: Call) -> Reply:
        await delete(call.cloud, call.context, self._ident(resource, call), None)
        return Reply(204)

    def _shown(self, resource: Resource[T], call: Call, thing: T) -> Values:
        return shown(resource, call, thing, call.params["user_id"] if self.of_user else None)

    def _ident(self, resource: Resource[T], call: Call) -> Any:
        ident = call.params[f"{resource.name}_id"]
        return (call.params["user_id"], ident) if self.of_user else ident


def _path(resource: Resource[Any], user_id: str | None = None) -> str:
    return f"/v3/{resource.plural}" if user_id is None else f"/v3/users/{user_id}/{resource.plural}"


def _core(resource: Resource[T], sent: Values) -> Values:
    """Return fields by the core's names; clients' own attributes are one of them."""
    properties = {name: sent.pop(name) for name in ("properties",) if name in sent}
    return {**resource.fields.read(sent), **properties}
