"""Keypairs: import, generate, list, delete."""

from __future__ import annotations

from dataclasses import replace

from floe.cloud import quotas
from floe.cloud.cloud import Cloud
from floe.cloud.pools import caller
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound
from floe.core.keypairs import Keypair, fingerprint
from floe.core.quotas import demand
from floe.store import keypairs as rows
from floe.store import quota_usages
from floe.store.engine import Connection

_BITS = 2048


async def create(
    cloud: Cloud, context: Context, name: str, public_key: str | None, *, user_id: str | None = None
) -> tuple[Keypair, str | None]:
    """Keep a public key, or generate a pair and return the private key, which is not kept.

    Raises Invalid for what is no key, Conflict for a name that is taken, OverQuota, Busy.
    """
    private_key = None
    if public_key is None:
        text, private_key = await cloud.pools.keys.run(_generate, caller=caller(context))
    else:
        text = public_key
    keypair = Keypair(
        id=0,
        user_id=user_id or context.user_id,
        name=name,
        fingerprint=fingerprint(text),
        public_key=text,
        created_at=cloud.clock.now(),
    )

    def keep(conn: Connection) -> Keypair:
        if rows.get(conn, keypair.user_id, name) is not None:
            raise Conflict(f"Key pair {name!r} already exists.")
        limits = quotas.limits(conn, context.project_id or "")
        demand(limits, {"key_pairs": (1, quota_usages.of(conn, keypair.user_id)["key_pairs"])})
        rows.add(conn, keypair)
        return replace(keypair)

    return await cloud.db.write(keep), private_key


async def get(cloud: Cloud, context: Context, name: str, *, user_id: str | None = None) -> Keypair:
    """Return one keypair. Raises NotFound."""
    owner = user_id or context.user_id
    keypair = await cloud.db.read(lambda conn: rows.get(conn, owner, name))
    if keypair is None:
        raise _unknown(owner, name)
    return keypair


async def listed(
    cloud: Cloud,
    context: Context,
    *,
    user_id: str | None = None,
    marker: str | None = None,
    limit: int = 1000,
) -> list[Keypair]:
    """Return a page of a user's keypairs by name, those behind the one named `marker`. Raises Invalid for it."""
    owner = user_id or context.user_id

    def look(conn: Connection) -> list[Keypair]:
        if marker is not None and rows.get(conn, owner, marker) is None:
            raise Invalid(f"marker {marker!r} is the name of no keypair of this user.")
        return rows.listed(conn, owner, after=marker, limit=limit)

    return await cloud.db.read(look)


async def delete(cloud: Cloud, context: Context, name: str, *, user_id: str | None = None) -> None:
    """Delete a keypair; guests that have the key keep it. Raises NotFound."""
    owner = user_id or context.user_id
    if not await cloud.db.write(lambda conn: rows.delete(conn, owner, name)):
        raise _unknown(owner, name)


def _unknown(user_id: str, name: str) -> NotFound:
    return NotFound("keypair", name, message=f"Keypair {name} not found for user {user_id}.")


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
