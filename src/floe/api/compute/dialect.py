"""How the compute API speaks of any noun, as Nova does: bodies decoded by type, and fields that microversions know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from floe.api.kit.body import Body
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, Rule
from floe.api.kit.query import OPEN_QUERY, Query
from floe.api.kit.resource import Create, Delete, Dialect, Member, Resource, Update, Use
from floe.api.kit.routing import Route
from floe.core.listing import Listing

T = TypeVar("T")
_Handler = Callable[[Call], Awaitable[Reply]]
_Told = tuple[str, str, str, _Handler, Query | None]
"""Of a call: (method, path, what it does, handler, parameters)."""

KEPT = "kept"
"""Who sees a field (`only`) that the reply to a create does not have yet."""


def nova(
    path: str,
    *,
    ident: str,
    rule: str,
    may: Mapping[str, Rule],
    listing: Callable[[Call], Listing],
    query: Query,
    deleted: int = 204,
    named: Callable[[str], str] = str,
) -> Dialect:
    """Return how Nova speaks of one noun, whose calls grew one by one: no two have all of their answers alike.

    Its things are at `/v2.1/{path}/{ident}`, and its further calls are actions there. The policies are `rule:index`,
    `:create`, `:show`, `:update`, `:delete` and those of the actions, and `may` says who may do each. `listing` reads
    what `query` lets pass, and `named` what stands in paths for a thing; `deleted` is the status of a removal.
    """
    speech = _Speech(f"/v2.1/{path}", f"/v2.1/{path}/{{{ident}}}", ident, rule, listing, query, deleted, named)

    def policies(resource: Resource[Any]) -> Policies:
        return {f"{rule}:{what}": may[what] for _, _, what, _, _ in speech.everything(resource)}

    return Dialect(speech.routes, policies)


@dataclass(frozen=True, slots=True)
class _Speech:
    every: str
    one: str
    ident: str
    rule: str
    listing: Callable[[Call], Listing]
    query: Query
    deleted: int
    named: Callable[[str], str]

    def routes(self, resource: Resource[Any]) -> tuple[Route, ...]:
        """Return the calls of a noun."""
        calls = [
            Route(method, path, handler, f"{self.rule}:{what}", query=query)
            for method, path, what, handler, query in self.calls(resource)
        ]
        actions = [
            Route(method, path, handler, f"{self.rule}:{what}", action=what)
            for method, path, what, handler, _ in self.actions(resource)
        ]
        return (*calls, *actions)

    def everything(self, resource: Resource[Any]) -> Iterator[_Told]:
        """Give what `calls` gives, and `actions`."""
        yield from self.calls(resource)
        yield from self.actions(resource)

    def actions(self, resource: Resource[Any]) -> Iterator[_Told]:
        """Give the same of what is done with one thing besides, which the body names."""
        for member in resource.members:
            body = member.takes.body(member.name, Use.CREATE)
            handler = partial(self._act, resource, member, body)
            yield member.method, f"{self.one}/action", member.name, handler, None

    def calls(self, resource: Resource[Any]) -> Iterator[_Told]:
        """Give (method, path, what it does, handler, parameters)."""
        yield "GET", self.every, "index", partial(self._index, resource), self.query
        if resource.create is not None:
            new = resource.fields.body(resource.name, Use.CREATE)
            yield "POST", self.every, "create", partial(self._create, resource, resource.create, new), None
        yield "GET", self.one, "show", partial(self._show, resource), OPEN_QUERY
        if resource.update is not None:
            changes = resource.fields.body(resource.name, Use.UPDATE)
            yield "PUT", self.one, "update", partial(self._update, resource, resource.update, changes), None
        if resource.delete is not None:
            yield "DELETE", self.one, "delete", partial(self._delete, resource.delete), None

    async def _index(self, resource: Resource[T], call: Call) -> Reply:
        found = await resource.find(call.cloud, call.context, self.listing(call))
        return Reply(body={resource.plural: map(resource.fields.shape.at(call.version, frozenset({KEPT})), found)})

    async def _create(self, resource: Resource[T], create: Create[T], new: Body, call: Call) -> Reply:
        asked = resource.fields.read(new.read(await call.raw(), call.version), call.version, Use.CREATE)
        (made,) = await create(call.cloud, call.context, [asked])
        return Reply(body={resource.name: resource.fields.shape.at(call.version)(made)})

    async def _show(self, resource: Resource[T], call: Call) -> Reply:
        return self._reply(resource, call, await resource.show(call.cloud, call.context, self._named(call)))

    async def _update(self, resource: Resource[T], update: Update[T], changes: Body, call: Call) -> Reply:
        asked = resource.fields.read(changes.read(await call.raw(), call.version), call.version, Use.UPDATE)
        changed = await update(call.cloud, call.context, self._named(call), asked, None)
        return self._reply(resource, call, changed)

    async def _delete(self, delete: Delete, call: Call) -> Reply:
        await delete(call.cloud, call.context, self._named(call), None)
        return Reply(self.deleted)

    async def _act(self, resource: Resource[T], member: Member[T], body: Body, call: Call) -> Reply:
        asked = member.takes.read(body.read(await call.raw(), call.version), call.version)
        return self._reply(resource, call, await member.act(call.cloud, call.context, self._named(call), asked))

    def _named(self, call: Call) -> str:
        return self.named(call.params[self.ident])

    def _reply(self, resource: Resource[T], call: Call, thing: T) -> Reply:
        return Reply(body={resource.name: resource.fields.shape.at(call.version, frozenset({KEPT}))(thing)})
