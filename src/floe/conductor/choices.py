"""Which hosts servers are to be claimed on: those that wait at the same time are chosen for in one look.

It is one read for all of them, and the table of hosts as it is then. Each sees what those before it were promised, so
that they do not all go for the same room; a promise is kept by a claim, or given back. What is promised is a guess, as
all of the table is: the claim decides.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from floe.cloud.cloud import Cloud
from floe.conductor.demands import Demands, Met
from floe.conductor.fleet import ConductorSettings, Fleet, Promise
from floe.conductor.flow import Flow
from floe.conductor.gathering import Gathering
from floe.core.aggregates import Demand, demands
from floe.core.disks import Disk
from floe.core.errors import NotFound
from floe.core.server_groups import ServerGroup
from floe.core.servers import Server
from floe.scheduler.select import Selection, choose, explain
from floe.scheduler.spec import RequestSpec, hinted, spec_of
from floe.store import allocations, server_disks, server_groups
from floe.store import servers as rows
from floe.store.engine import Connection

GRACE_STEP = 0.1


class Request(msgspec.Struct, frozen=True):
    """A server to be placed, with what was read for it.

    Where it asks something of its host's aggregates, what meets that was worked out at `generation` of theirs.
    """

    server: Server
    spec: RequestSpec
    group: ServerGroup | None
    generation: int | None = None
    disks: tuple[Disk, ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """The host that a server was promised, and where else its claim may go."""

    request: Request
    selection: Selection
    promise: Promise


class Moves(msgspec.Struct, frozen=True):
    """That a server which is on a host is to be on another: on one that is named, or on any, whatever it began on."""

    to: str | None = None


class _Wanted(msgspec.Struct, frozen=True):
    """A server that a host is wanted for; what went wrong on those that were tried stands in `excluded`."""

    server_id: str
    seed: int
    excluded: Mapping[str, str]
    moves: Moves | None = None

    def as_asked(self, server: Server | None) -> Server | None:
        """Return the server as one that asks for the host that it is to move to."""
        return server if server is None or self.moves is None else replace(server, requested_host=self.moves.to)


@dataclass(slots=True)
class _Company:
    """How many members of each server group the others of a look were promised on each host."""

    members: dict[str, Counter[str]] = field(default_factory=dict)

    def of(self, request: Request) -> Counter[str]:
        """Return those of the request's group."""
        return self.members.setdefault(request.group.id if request.group else "", Counter())


class Choices:
    """Chooses hosts."""

    def __init__(self, cloud: Cloud, fleet: Fleet, settings: ConductorSettings) -> None:
        self._cloud, self._fleet, self._settings = cloud, fleet, settings
        self._demands = Demands()
        self._looks = Gathering[_Wanted, Choice | Request]("choices", self._look)

    async def choose(self, flow: Flow, excluded: Mapping[str, str], moves: Moves | None = None) -> Choice:
        """Choose; when no host will do, read what changed, and just after the start wait for hosts to speak up.

        The promise is the caller's to settle. Raises NoValidHost.
        """
        seed = zlib.crc32(flow.action.id.encode())
        found = await self._looks.do(_Wanted(flow.action.subject_id, seed, excluded, moves))
        waited = 0.0
        while isinstance(found, Request):
            await self._fleet.refresh()
            found = self._promise(found, seed)
            if isinstance(found, Choice):
                break
            if not self._fleet.awaited() or waited >= self._settings.start_grace:
                raise explain(found.spec, self._fleet.table)
            await flow.pause(GRACE_STEP)
            waited += GRACE_STEP
        return found

    def read(self, conn: Connection, server: Server) -> tuple[Request, Met | None]:
        """Return what a server asks of a host, and what `keep` is told when it has been read."""
        met = self._met(conn, [server])
        return self._request(conn, server, {}, met), met

    def keep(self, met: Met | None) -> None:
        """Know for later which aggregates meet what was asked."""
        if met is not None:
            self._demands.keep(met)

    # -- inside ---------------------------------------------------------------------------------------

    def _met(self, conn: Connection, servers: Iterable[Server]) -> Met | None:
        """Return which aggregates meet what servers ask of theirs, None where none asks anything."""
        asked = frozenset[Demand]().union(*(demands(server.flavor.extra_specs) for server in servers))
        return self._demands.met(conn, asked) if asked else None

    def _request(self, conn: Connection, server: Server, excluded: Mapping[str, str], met: Met | None) -> Request:
        group = server_groups.get(conn, server.group_id) if server.group_id else None
        hints, asked = hinted(server), demands(server.flavor.extra_specs)
        aggregates = {demand: met.by_demand[demand] for demand in asked} if met else {}
        spec = spec_of(
            server,
            group=group,
            group_hosts=allocations.members(conn, group.id, but=server.id) if group else None,
            hint_hosts=allocations.hosts_of(conn, hints) if hints else None,
            aggregates=aggregates,
            excluded=excluded,
        )
        return Request(server, spec, group, met.generation if met and asked else None)

    async def _look(self, wanted: Sequence[_Wanted]) -> list[Choice | Request | Exception]:
        """Return for each its choice, or what it asks of a host where none will do."""
        # All that is asked for one that asks nothing of hosts but room.
        foreseen = (ask for each in wanted for ask in (rows.asks(each.server_id), server_disks.asks(each.server_id)))
        found, met = await self._cloud.db.read(lambda conn: self._read(conn, wanted), *foreseen)
        self.keep(met)
        company, choices = _Company(), list[Choice | Request | Exception]()
        for each, request in zip(wanted, found, strict=True):
            choices.append(self._chosen(request, each, company) if isinstance(request, Request) else request)
        return choices

    def _read(self, conn: Connection, wanted: Sequence[_Wanted]) -> tuple[list[Request | NotFound], Met | None]:
        servers = [each.as_asked(rows.get(conn, each.server_id)) for each in wanted]
        met = self._met(conn, filter(None, servers))
        found = list[Request | NotFound]()
        for each, server in zip(wanted, servers, strict=True):
            if server is None:
                found.append(NotFound("server", each.server_id))
            else:
                request = self._request(conn, server, each.excluded, met)
                found.append(replace(request, disks=server_disks.of_server(conn, server)))
        return found, met

    def _chosen(self, request: Request, wanted: _Wanted, company: _Company) -> Choice | Request:
        if request.group is None:
            return self._promise(request, wanted.seed)
        others = company.of(request)
        there = Counter(request.spec.group_hosts) + others
        choice = self._promise(replace(request, spec=replace(request.spec, group_hosts=there)), wanted.seed)
        if isinstance(choice, Choice):
            others[choice.selection.host] += 1
        return choice

    def _promise(self, request: Request, seed: int) -> Choice | Request:
        selection = choose(request.spec, self._fleet.table, seed, multipliers=self._settings.multipliers)
        if selection is None:
            return request
        return Choice(request, selection, self._fleet.promise(selection.host, request.spec.resources))
