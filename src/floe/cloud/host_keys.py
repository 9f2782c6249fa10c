"""How a machine becomes a host: an operator has a token made for a name, and whoever redeems it binds a key to that.

Names are bound to keys, so that no second machine can be a host that there is. What the bus lets in is made of these
rows (`floe.assembly.bus_file`).
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Sequence
from datetime import datetime

import msgspec

from floe.bus import permissions
from floe.cloud import attempts
from floe.cloud.attempts import Claim
from floe.cloud.cloud import Cloud
from floe.cloud.hosts import HostDetail
from floe.core.counters import Count
from floe.core.errors import Conflict, FloeError, Invalid, OverQuota, Unauthenticated
from floe.core.host_keys import (
    MOST_OPEN,
    TOKEN_LIFE,
    HostKey,
    demand_name,
    fingerprint,
    signed_words,
    token_hash,
)
from floe.core.hosts import Host
from floe.store import generations, guests, hosts
from floe.store import host_keys as rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)

REDEEMED = Count("floe_host_tokens_redeemed", "Machines that wanted to become hosts, by what came of it", ("result",))
_PORTION = 400
"""Rows that are read at once."""


class Redeemed(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine says that wants to become a host."""

    host: str
    token: str
    public_key: str
    signature: bytes
    """Of `signed_words`, by the holder of the key."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A name that a host has, or is to have: the host if it was heard of, its key, and how many servers are on it."""

    name: str
    detail: HostDetail | None
    key: HostKey | None
    servers: int


async def create_token(cloud: Cloud, host: str, *, new_key: bool) -> tuple[str, HostKey]:
    """Return a new token for a host and what is kept of it. One that the name had is good for nothing any more.

    A name that is bound to a key gets one with `new_key` alone; that key is let in no more from now on. Raises
    Conflict, OverQuota.
    """
    demand_name(host)
    _demand_bus(cloud)
    token, now = secrets.token_hex(32), cloud.clock.now()
    made = HostKey(host=host, token_hash=token_hash(token), token_expires_at=now + TOKEN_LIFE, created_at=now)

    def work(conn: Connection) -> None:
        rows.forget_expired(conn, now)
        known = rows.get(conn, host)
        if known is not None and known.public_key and not new_key:
            raise Conflict(
                f"Host {host} is bound to the key {fingerprint(known.public_key)} already. If that machine is gone, "
                f"`floe host remove {host}`; if it is to have another key, or its key was stolen, `floe host add "
                f"{host} --new-key`: the key that it has is worthless from then on."
            )
        if (known is None or known.public_key) and rows.count_open(conn) >= MOST_OPEN:
            raise OverQuota(
                f"{MOST_OPEN} hosts are awaited already, which is the most; each waits for an hour. `floe host list` "
                "names them, `floe host remove` makes room."
            )
        rows.put(conn, made)

    await cloud.db.write(work)
    log.info("host %s is awaited until %s", host, made.token_expires_at.isoformat(timespec="seconds"))
    return token, made


async def redeem(cloud: Cloud, asked: Redeemed, address: str) -> HostKey:
    """Bind a host's name to a key, once; the same key may ask again, since the answer may have been lost.

    Raises Busy when too many wrong tokens came from an address, Unauthenticated for a token that is none, or whose
    hour is over, and Conflict where somebody else redeemed it, or the key is another host's.
    """
    claim = Claim(words=("host token",), address=address)
    attempts.begin(cloud, claim)
    try:
        _demand_holder(asked)
        now = cloud.clock.now()
        # Whoever has no token costs a read, no more.
        await cloud.db.read(lambda conn: _demand_token(conn, asked, now))
        bound = await cloud.db.write(lambda conn: _bind(conn, asked, now))
    except FloeError as error:
        cloud.counters.add(REDEEMED, "refused")
        # Whoever has a token that somebody else redeemed may have stolen it, or been robbed of it.
        level = logging.WARNING if isinstance(error, Conflict) else logging.INFO
        log.log(level, "host %r of %s is refused: %s", asked.host[:80], address, error.message)
        raise
    attempts.succeed(cloud, claim)
    cloud.counters.add(REDEEMED, "accepted")
    log.info("host %s of %s joined with the key %s", bound.host, address, fingerprint(bound.public_key))
    return bound


async def bound(cloud: Cloud) -> list[HostKey]:
    """Return all names that are bound to a key, read in portions."""
    found: list[HostKey] = []
    after = ""
    while True:
        portion = await cloud.db.read(lambda conn: rows.find(conn, after, _PORTION))  # noqa: B023  # awaited at once
        found += [key for key in portion if key.public_key]
        if len(portion) < _PORTION:
            return found
        after = portion[-1].host
        await cloud.turns.turn()


async def generation(cloud: Cloud) -> int:
    """Return how often the keys changed."""
    return await cloud.db.read(lambda conn: generations.get(conn, rows.host_keys.name))


async def members(cloud: Cloud, after: str, most: int) -> list[Member]:
    """Return hosts and names that are awaited, by name: so many at most, those behind a name."""
    now = cloud.clock.now()

    def read(conn: Connection) -> tuple[Sequence[Host], Sequence[HostKey]]:
        return hosts.find_by_name(conn, after, most), rows.find(conn, after, most)

    found, keys = await cloud.db.read(read)
    by_name, key_of = {host.name: host for host in found}, {key.host: key for key in keys}
    names = sorted({*by_name, *key_of})[:most]
    count = await cloud.db.read(lambda conn: guests.count(conn, names))
    return [
        Member(
            name=name,
            detail=HostDetail(host=by_name[name], up=by_name[name].is_up(now)) if name in by_name else None,
            key=key_of.get(name),
            servers=count.get(name, 0),
        )
        for name in names
    ]


def _demand_bus(cloud: Cloud) -> None:
    if not cloud.settings.host_bus:
        raise Conflict(
            "This cloud is one process, whose bus is within it: no other machine can be its host. With its roles in "
            "processes of their own (floe api, floe conductor, floe agent) and a bus between them, hosts can join."
        )


def _demand_holder(asked: Redeemed) -> None:
    if not permissions.is_public_key(asked.public_key):
        raise Invalid(
            f"The key {asked.public_key[:80]!r} is no public nkey of a user, which has 56 characters and begins with U."
        )
    if not permissions.signed(asked.public_key, signed_words(asked.host, asked.token), asked.signature):
        raise Invalid("The signature is not that of the key over this host and token: who joins has to hold the key.")


def _demand_token(conn: Connection, asked: Redeemed, now: datetime) -> HostKey:
    """Return what a token was made for, if it can be redeemed, or was by this key."""
    known = rows.get(conn, asked.host)
    right = hmac.compare_digest(known.token_hash if known else "-" * 64, token_hash(asked.token))
    if known is None or not right:
        raise Unauthenticated(
            "This is no token for a host of this name: it was mistyped, or replaced by a later one, or nobody redeemed "
            "it within its hour. `floe host add` prints another one."
        )
    if known.public_key and known.public_key != asked.public_key:
        raise Conflict(
            f"This token was redeemed already, by the key {fingerprint(known.public_key)}: host {asked.host} is "
            "another machine, or somebody has stolen the token. `floe host list` shows its key; "
            f"`floe host add {asked.host} --new-key` locks that out and prints another token."
        )
    if not known.public_key and known.token_expires_at <= now:
        raise Unauthenticated(
            f"This token could be redeemed until {known.token_expires_at:%Y-%m-%d %H:%M:%S} UTC; "
            f"`floe host add {asked.host}` prints another one."
        )
    return known


def _bind(conn: Connection, asked: Redeemed, now: datetime) -> HostKey:
    known = _demand_token(conn, asked, now)
    if known.public_key:
        return known  # bound before: the answer was lost, or this runs again
    others = [name for name in rows.hosts_of(conn, asked.public_key) if name != asked.host]
    if others:
        raise Conflict(
            f"The key {fingerprint(asked.public_key)} is that of host {others[0]}: each machine has one of its own. "
            "If this one was made as a copy of that, remove the key that it has, and join again."
        )
    rows.update(conn, asked.host, {"public_key": asked.public_key, "joined_at": now})
    found = rows.get(conn, asked.host)
    assert found is not None
    return found
