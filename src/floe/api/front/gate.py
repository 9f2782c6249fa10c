"""Who may come in: connections counted by peer and in all, and the longest idle one gives way when it is full."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

from floe.api.front.limits import Limits
from floe.api.front.refusals import FULL, PEER_FULL, SHED, Refusal, Refusals
from floe.api.kit.peer import among, told_apart

_STALLED = 1.0
"""Seconds after which a client in the middle of a request gives way as well, where no idle one is."""


class Visitor(Protocol):
    """A connection as the gate sees it."""

    def silent(self) -> float:
        """Return for how many seconds nothing was heard of its client."""
        ...

    def give_way(self) -> None:
        """End at once: the gate has let go of it already."""
        ...


@dataclass(slots=True)
class _Room:
    """Connections that wait for their clients, each time the longest waiting one first."""

    idle: OrderedDict[Visitor, None] = field(default_factory=OrderedDict)
    """Between two requests, or before the first, or in a head."""
    slow: OrderedDict[Visitor, None] = field(default_factory=OrderedDict)
    """In the middle of a body, or of a reply."""

    def oldest(self) -> Visitor | None:
        """Return who can best be spared, None where everybody is busy."""
        if self.idle:
            return next(iter(self.idle))
        found = next(iter(self.slow), None)
        return found if found is not None and found.silent() >= _STALLED else None


@dataclass(slots=True)
class _Peer:
    key: str
    trusted: bool
    count: int = 0
    room: _Room = field(default_factory=_Room)


class Gate:
    """Counts connections. A client that waits costs a place, but never one that somebody with work needs."""

    def __init__(self, limits: Limits, refusals: Refusals) -> None:
        self._limits = limits
        self._refusals = refusals
        self._peers: dict[str, _Peer] = {}
        self._inside: dict[Visitor, _Peer] = {}
        self._lingering: set[Visitor] = set()
        self._room = _Room()
        self.closing = False
        """Whether connections end with the request that they have, so that the next one goes to another server."""

    def close(self) -> None:
        """Have no connection serve a second request from now on."""
        self.closing = True

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self, visitor: Visitor, address: str) -> Refusal | None:
        """Let a connection in, or return why not."""
        peer = self._peer(address)
        if peer.count >= self._limits.per_peer and not peer.trusted and not self._make_way(peer.room):
            return PEER_FULL
        if len(self._inside) >= self._limits.connections and not self._make_way(self._room):
            return FULL
        self._peers[peer.key] = peer
        peer.count += 1
        self._inside[visitor] = peer
        return None

    def leave(self, visitor: Visitor) -> None:
        """Forget a connection, if it is still known."""
        self._lingering.discard(visitor)
        peer = self._inside.pop(visitor, None)
        if peer is None:
            return
        for room in (self._room, peer.room):
            room.idle.pop(visitor, None)
            room.slow.pop(visitor, None)
        peer.count -= 1
        if not peer.count:
            del self._peers[peer.key]

    def waits(self, visitor: Visitor, *, within: bool = False) -> None:
        """Note that a client is waited for from now on: for its next request, or `within` one."""
        peer = self._inside.get(visitor)
        if peer is None:
            return
        for room in (self._room, peer.room):
            if within:
                room.idle.pop(visitor, None)
                room.slow[visitor] = None
                room.slow.move_to_end(visitor)
            else:
                room.slow.pop(visitor, None)
                room.idle[visitor] = None
                room.idle.move_to_end(visitor)

    def works(self, visitor: Visitor) -> None:
        """Note that a connection is busy: nobody waits for its client."""
        peer = self._inside.get(visitor)
        if peer is None:
            return
        for room in (self._room, peer.room):
            room.idle.pop(visitor, None)
            room.slow.pop(visitor, None)

    def linger(self, visitor: Visitor) -> bool:
        """Give up the place of one that was refused; say whether there is time for it to read why."""
        self.leave(visitor)
        if len(self._lingering) >= self._limits.lingering:
            return False
        self._lingering.add(visitor)
        return True

    def _make_way(self, room: _Room) -> bool:
        oldest = room.oldest()
        if oldest is None:
            return False
        peer = self._inside[oldest]
        self.leave(oldest)
        self._refusals.note(SHED, peer.key)
        oldest.give_way()
        return True

    def _peer(self, address: str) -> _Peer:
        trusted = among(address, self._limits.trusted)
        key = address if trusted else told_apart(address)
        return self._peers.get(key) or _Peer(key, trusted)
