"""How the compute API speaks of any noun, as Nova does: bodies decoded by type, and fields that microversions know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec

from floe.api.kit.body import Body
from floe.api.kit.call import Call, Reply, quoted
from floe.api.kit.paging import Page, linked, page_of
from floe.api.kit.policy import Policies, Rule
from floe.api.kit.query import Query
from floe.api.kit.resource import Create, Delete, Member, Resource, Update, Use, Values
from floe.api.kit.routing import Route
from floe.core.listing import Listing
from floe.core.versions import Version

T = TypeVar("T")
Granted = Mapping[str, tuple[str, Rule]]
"""What is done -> the name of its policy, and who may."""
Status = int | Callable[[Version], int]

KEPT = "kept"
"""Who sees a field (`only`) that the reply to a create does not have yet."""
NEVER: Version = (9999, 9999)
ONCE_OPEN = Query(closed=(2, 102))
"""Of a call that takes no parameters, and ignores any below 2.102."""


class _Told(NamedTuple):
    """One call of a noun."""

    method: str
    path: str
    what: str
    handler: Callable[[Call], Awaitable[Reply]]
    query: Query | None = None
    action: str | None = None
    since: Version = (0, 0)


def under(rule: str, **may: Rule) -> Granted:
    """Return policies whose names are that of a rule and of what is done."""
    return {what: (f"{rule}:{what}", who) for what, who in may.items()}


def paged(call: Call, keys: Mapping[str, str] | None = None, first: str = "", **also: Any) -> Listing:
    """Return a list's page as its parameters have it; `keys` are those to sort by, with the core's names.

    A direction alone is that of the key `first`.
    """
    known = keys or {}
    page = page_of(call, frozenset(known), first=first)
    sort = tuple((known[key], ascending) for key, ascending in page.sort)
    return Listing(limit=page.limit, marker=page.marker, sort=sort, also=also)


class Nova(msgspec.Struct, frozen=True, kw_only=True):
    """How Nova speaks of one noun, whose calls grew one by one: no two have all of their answers alike.

    Its things are at `/v2.1/{path}/{ident}`, and its further calls are actions there, or below it where they only
    look. A call that a microversion brought is there since its fields are. `may` says who may index, create, show,
    update, delete, do an action, and see detail: where it says that, a list of `index` is followed by one in full. A
    field is in the replies to what its `only` names; all but a create's hold KEPT.
    """

    path: str
    ident: str
    may: Granted
    listing: Callable[[Call], Listing]
    query: Query
    one_query: Query = ONCE_OPEN
    """What shows and removals of one thing take."""
    key: str = "id"
    """Where a thing has what stands in paths and markers for it."""
    named: Callable[[Call, str], Any] = lambda _call, text: text
    """What the cloud knows the thing in a path as."""
    created: Status = 200
    deleted: Status = 204
    links_since: Version = NEVER
    """From where on full pages of a list link to the next."""
    linked: bool = False
    """Whether things have links to themselves."""
    wrapped: bool = False
    """Whether each thing in a list is an object in another."""
    holds: Callable[[Call, str], frozenset[str]] = lambda _call, _what: frozenset()
    """What else holds for a call and what it does, for fields with `only`."""

    def routes(self, resource: Resource[Any]) -> tuple[Route, ...]:
        """Return the calls of a noun."""
        return tuple(
            Route(method, path, handler, self.may[what][0], query=query, action=action, since=since)
            for method, path, what, handler, query, action, since in self._told(resource)
        )

    def policies(self, resource: Resource[Any]) -> Policies:
        """Return who may do what."""
        return dict(self.may[told.what] for told in self._told(resource))

    def _told(self, resource: Resource[Any]) -> Iterator[_Told]:
        every = f"/v2.1/{self.path}"
        one = f"{every}/{{{self.ident}}}"
        body = resource.fields.body
        for what, path in (("index", every), ("detail", f"{every}/detail")):
            if what in self.may:
                yield _Told("GET", path, what, partial(self._index, resource, what, path), self.query)
        if resource.create is not None:
            new = body(resource.name, Use.CREATE)
            yield _Told("POST", every, "create", partial(self._create, resource, resource.create, new))
        yield _Told("GET", one, "show", partial(self._show, resource), self.one_query)
        if resource.update is not None:
            changes = body(resource.name, Use.UPDATE)
            handler = partial(self._update, resource, resource.update, changes)
            yield _Told("PUT", one, "update", handler, since=min(field.since for field in changes.fields))
        if resource.delete is not None:
            query = None if self.one_query is ONCE_OPEN else self.one_query
            yield _Told("DELETE", one, "delete", partial(self._delete, resource.delete), query)
        for member in resource.members:
            name = member.name
            if member.method == "GET":
                yield _Told("GET", f"{one}/{name}", name, partial(self._look, resource, member), ONCE_OPEN)
            else:
                handler = partial(self._act, resource, member, member.takes.body(name, Use.CREATE))
                yield _Told(member.method, f"{one}/action", name, handler, action=name)

    async def _index(self, resource: Resource[T], what: str, path: str, call: Call) -> Reply:
        listing = self.listing(call)
        found = await resource.find(call.cloud, call.context, listing)
        things = self._page(resource, call, what, found)
        shown = ({resource.name: thing} for thing in things) if self.wrapped else things
        more = None
        if call.version >= self.links_since and listing.limit is not None:
            page = Page(listing.limit, listing.marker)
            more = linked(call, path, page, f"{resource.plural}_links", list(map(attrgetter(self.key), found)))
        return Reply(body={resource.plural: shown}, more=more)

    async def _create(self, resource: Resource[T], create: Create[T], new: Body, call: Call) -> Reply:
        asked = resource.fields.read(new.read(await call.raw(), call.version), call.version, Use.CREATE)
        (made,) = await create(call.cloud, call.context, [asked])
        return self._reply(resource, call, "create", made, self.created)

    async def _show(self, resource: Resource[T], call: Call) -> Reply:
        found = await resource.show(call.cloud, call.context, self._named(call))
        return self._reply(resource, call, "show", found)

    async def _update(self, resource: Resource[T], update: Update[T], changes: Body, call: Call) -> Reply:
        asked = resource.fields.read(changes.read(await call.raw(), call.version), call.version, Use.UPDATE)
        changed = await update(call.cloud, call.context, self._named(call), asked, None)
        return self._reply(resource, call, "update", changed)

    async def _delete(self, delete: Delete, call: Call) -> Reply:
        await delete(call.cloud, call.context, self._named(call), None)
        return Reply(_status(self.deleted, call))

    async def _look(self, resource: Resource[T], member: Member[T], call: Call) -> Reply:
        found = await member.act(call.cloud, call.context, self._named(call), {})
        return self._answer(resource, member, call, found)

    async def _act(self, resource: Resource[T], member: Member[T], body: Body, call: Call) -> Reply:
        asked = member.takes.read(body.read(await call.raw(), call.version), call.version)
        found = await member.act(call.cloud, call.context, self._named(call), asked)
        return self._answer(resource, member, call, found)

    def _answer(self, resource: Resource[T], member: Member[T], call: Call, found: Any) -> Reply:
        if member.shown is not None:
            return Reply(body=member.shown(call.params[self.ident], found))
        return self._reply(resource, call, member.name, found)

    def _named(self, call: Call) -> Any:
        return self.named(call, call.params[self.ident])

    def _reply(self, resource: Resource[T], call: Call, what: str, thing: T, status: Status = 200) -> Reply:
        shown = self._shown(resource, call, what, thing)
        return Reply(_status(status, call), {resource.name: shown})

    def _shown(self, resource: Resource[T], call: Call, what: str, thing: T) -> Values:
        shown = resource.fields.shape.show(thing, call.version, self._holds(call, what))
        return {**shown, "links": self._links(call)(thing)} if self.linked else shown

    def _page(self, resource: Resource[T], call: Call, what: str, things: Sequence[T]) -> Iterator[Any]:
        link = ("links", self._links(call)) if self.linked else None
        return resource.fields.shape.page(things, call.version, self._holds(call, what), link=link)

    def _holds(self, call: Call, what: str) -> frozenset[str]:
        return self.holds(call, what) | {what} | (frozenset() if what == "create" else {KEPT})

    def _links(self, call: Call) -> Callable[[Any], list[dict[str, str]]]:
        ident, own, bookmark = attrgetter(self.key), call.url(f"/v2.1/{self.path}/"), call.url(f"/{self.path}/")

        def links(thing: Any) -> list[dict[str, str]]:
            name = quoted(str(ident(thing)))
            return [{"rel": "self", "href": own + name}, {"rel": "bookmark", "href": bookmark + name}]

        return links


def _status(status: Status, call: Call) -> int:
    return status if isinstance(status, int) else status(call.version)
