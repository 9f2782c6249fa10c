"""Keypairs: import, generate, list, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from msgspec import structs

from floe.cloud import certificates, quotas
from floe.cloud.cloud import Cloud
from floe.cloud.pools import caller
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, NotFound
from floe.core.keypairs import SSH, X509, Keypair, KeypairName, fingerprint
from floe.core.listing import Listing
from floe.core.quotas import demand
from floe.store import keypairs as rows
from floe.store import quota_usages
from floe.store.engine import Connection

_BITS = 2048


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[Keypair]:
    """Keep public keys (name, public_key, user_id), or generate pairs, whose private keys are in the reply alone.

    Those of type x509 are certificates.

    Raises Invalid for what is no key, Forbidden, Conflict for a name that is taken, OverQuota, Busy.
    """
    return [await _create(cloud, context, item) for item in asked]


async def _create(cloud: Cloud, context: Context, asked: Mapping[str, Any]) -> Keypair:
    owner, name, now = _owner(context, asked.get("user_id")), asked["name"], cloud.clock.now()
    kind, text, private_key = asked.get("type", SSH), asked.get("public_key", ""), None
    if "public_key" not in asked:
        generate = partial(certificates.generate, owner, now) if kind == X509 else _generate
        text, private_key = await cloud.pools.keys.run(generate, caller=caller(context))
    if kind == X509:
        mark = await cloud.pools.keys.run(certificates.fingerprint, text, caller=caller(context))
    else:
        mark = fingerprint(text)
    keypair = Keypair(user_id=owner, name=name, type=kind, fingerprint=mark, public_key=text, created_at=now)

    def keep(conn: Connection) -> Keypair:
        if rows.get(conn, owner, name) is not None:
            raise Conflict(f"Key pair {name!r} already exists.")
        limits = quotas.limits(conn, context.project_id or "", owner)
        demand(limits, {"key_pairs": (1, quota_usages.of(conn, owner)["key_pairs"])})
        return rows.insert(conn, keypair)

    return replace(await cloud.db.write(keep), private_key=private_key)


async def show(cloud: Cloud, context: Context, named: KeypairName) -> Keypair:
    """Return one keypair. Raises NotFound, Forbidden."""
    owner = _owner(context, named.user_id)
    return await cloud.db.read(lambda conn: _demand(conn, owner, named.name))


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[Keypair]:
    """Return a page of a user's keypairs by name. Raises Invalid for its marker, Forbidden."""
    owner = _owner(context, listing.also["user_id"])
    asked = structs.replace(listing, also={})
    return await cloud.db.read(lambda conn: rows.find(conn, owner, asked))


async def delete(cloud: Cloud, context: Context, named: KeypairName, _seen: int | None = None) -> None:
    """Delete a keypair; guests that have the key keep it. Raises NotFound, Forbidden."""
    owner = _owner(context, named.user_id)
    await cloud.db.write(lambda conn: rows.delete(conn, _demand(conn, owner, named.name).id))


def _owner(context: Context, user_id: str | None) -> str:
    """Return whose keypairs are meant. Raises Forbidden."""
    if user_id and user_id != context.user_id and not context.is_admin:
        raise Forbidden(f"Only administrators may ask for the keypairs of another user (user_id {user_id!r}).")
    return user_id or context.user_id


def _demand(conn: Connection, owner: str, name: str) -> Keypair:
    found = rows.get(conn, owner, name)
    if found is None:
        raise NotFound("keypair", name, message=f"Keypair {name} not found for user {owner}.")
    return found


def _generate() -> tuple[str, str]:
    """Return an RSA pair as Nova makes them: OpenSSH public key, PEM private key. Takes about 0.1 s of CPU."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{public.decode()} Generated-by-Floe", private.decode()
