"""What must not lie readable on a disk: sealed with the keys of the secrets file, the first of which seals."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from floe.cloud.cloud import Cloud
from floe.core.actions import Action
from floe.core.errors import Conflict
from floe.core.given import Given
from floe.store import actions as rows

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

G = TypeVar("G", bound=Given)

_PLAIN = ("admin_password", "files")
"""What earlier releases left readable in the input of an action."""


def seal(cloud: Cloud, value: Any) -> str:
    """Return JSON as text that only the keys open."""
    return box(cloud).encrypt(msgspec.json.encode(value)).decode()


def unseal(cloud: Cloud, text: str) -> Any:
    """Return what was sealed. Raises Conflict when none of the keys opens it."""
    from cryptography.fernet import InvalidToken

    try:
        return msgspec.json.decode(box(cloud).decrypt(text.encode()))
    except InvalidToken as error:
        raise Conflict("The keys that this was sealed with are not in the secrets file any more.") from error


def given(cloud: Cloud, action: Action) -> dict[str, Any]:
    """Return all that an action was given, its secrets included. Raises Conflict when their keys are gone."""
    return {**action.input, **(unseal(cloud, action.sealed) if action.sealed else {})}


def opened(cloud: Cloud, action: Action, of: type[G]) -> G:
    """Return what of an action's input is sealed. Raises Conflict when its keys are gone."""
    return msgspec.convert(given(cloud, action), of)


async def seal_leftovers(cloud: Cloud) -> int:
    """Seal what an earlier release left readable in actions that are not at their end; return in how many."""
    found = await cloud.db.read(lambda conn: rows.find_open_with(conn, _PLAIN))
    for action in found:
        secret = {name: action.input[name] for name in _PLAIN if name in action.input}
        plain = {name: value for name, value in action.input.items() if name not in _PLAIN}
        await cloud.db.write(partial(rows.seal, action_id=action.id, given=plain, sealed=seal(cloud, secret)))
    return len(found)


def box(cloud: Cloud) -> MultiFernet:
    """Return what seals and opens with the keys of now."""
    from cryptography.fernet import Fernet, MultiFernet

    keys = tuple(cloud.token_keys())
    known = cloud.caches.get("fernet")
    if known is None or known[0] != keys:
        known = cloud.caches["fernet"] = (keys, MultiFernet([Fernet(key) for key in keys]))
    fernet: MultiFernet = known[1]
    return fernet
