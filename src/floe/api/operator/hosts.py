"""/v1/hosts: the hosts and the names that are awaited; /v1/join: how a machine becomes one of them."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from msgspec import Meta

from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.paging import window, window_of
from floe.api.kit.policy import operator, public
from floe.api.kit.query import Query
from floe.cloud import host_keys, hosts
from floe.cloud.host_keys import Member, Redeemed
from floe.core.clock import iso_micro
from floe.core.errors import Invalid
from floe.core.host_keys import HostKey, fingerprint

_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_Reason = Annotated[str, Meta(min_length=1, max_length=255)]
_Word = Annotated[str, Meta(min_length=1, max_length=128)]
_CREATE = Body("host", [Field("name", _Name, required=True), Field("new_key", bool)])
_UPDATE = Body("host", [Field("enabled", bool, required=True), Field("disabled_reason", _Reason)])
_JOIN = Body("join", [Field(name, _Word, required=True) for name in ("host", "token", "key", "signature")])
_PATH, _POLICY = "/v1/hosts", "floe:hosts"
_AT = f"{_PATH}/{{host}}"


async def index(call: Call) -> Reply:
    """GET: by name, at most `limit`, those behind the name `marker`."""
    page = window_of(call)
    found = await host_keys.members(call.cloud, page.marker or "", page.limit)
    return Reply(200, {"hosts": [_shown(member) for member in found]})


async def create(call: Call) -> Reply:
    """POST: make a token that a machine becomes the host of this name with, once and within an hour."""
    asked = _CREATE.read(await call.raw())
    token, key = await host_keys.create_token(call.cloud, asked["name"], new_key=asked.get("new_key", False))
    settings = call.cloud.settings
    shown = {
        "name": key.host,
        "token": token,
        "token_expires_at": iso_micro(key.token_expires_at),
        "url": settings.public_url,
        "bus": settings.host_bus,
        "bus_ca": settings.host_bus_ca or None,
    }
    return Reply(201, {"host": shown})


async def update(call: Call) -> Reply:
    """PUT {host}: whether it takes servers, and why not."""
    asked = _UPDATE.read(await call.raw())
    if asked["enabled"] and "disabled_reason" in asked:
        raise Invalid("disabled_reason may be given only with enabled false.")
    values = {"enabled": asked["enabled"], "disabled_reason": asked.get("disabled_reason")}
    found = await hosts.change(call.cloud, call.params["host"], values)
    return Reply(200, {"host": {"name": found.host.name, **values}})


async def delete(call: Call) -> Reply:
    """DELETE {host}: forget it, and the key that its name is bound to, or its token."""
    await hosts.remove(call.cloud, call.params["host"])
    return Reply(204)


async def join(call: Call) -> Reply:
    """POST /v1/join: bind a host's name to a key; `signature` is of that key, in base64. Who has a token may."""
    asked = _JOIN.read(await call.raw())
    try:
        signature = base64.b64decode(asked["signature"], validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("signature must be base64.") from None
    told = Redeemed(host=asked["host"], token=asked["token"], public_key=asked["key"], signature=signature)
    bound = await host_keys.redeem(call.cloud, told, call.peer)
    settings = call.cloud.settings
    shown = {
        "host": bound.host,
        "bus": settings.host_bus,
        "bus_ca": settings.host_bus_ca or None,
        "images_from": settings.host_images,
    }
    return Reply(200, {"join": shown})


def _shown(member: Member) -> dict[str, Any]:
    detail, key = member.detail, member.key
    shown: dict[str, Any] = {"name": member.name, "state": _state(member), "servers": member.servers}
    host = None if detail is None else detail.host
    return shown | {
        "enabled": host is None or host.enabled,
        "disabled_reason": host.disabled_reason if host else None,
        "last_seen": iso_micro(host.last_seen) if host else None,
        **_key_shown(key),
    }


def _state(member: Member) -> str:
    if member.detail is not None:
        return "up" if member.detail.up else "down"
    return "joined" if member.key is not None and member.key.public_key else "awaited"


def _key_shown(key: HostKey | None) -> dict[str, Any]:
    known = key is not None and key.public_key
    waits = key is not None and not key.public_key
    return {
        "key": key.public_key if key and known else None,
        "fingerprint": fingerprint(key.public_key) if key and known else None,
        "joined_at": iso_micro(key.joined_at) if key and key.joined_at else None,
        "token_expires_at": iso_micro(key.token_expires_at) if key and waits else None,
    }


ROUTES = (
    Route("GET", _PATH, index, f"{_POLICY}:list", query=Query(*window())),
    Route("POST", _PATH, create, f"{_POLICY}:create"),
    Route("PUT", _AT, update, f"{_POLICY}:update"),
    Route("DELETE", _AT, delete, f"{_POLICY}:delete"),
    Route("POST", "/v1/join", join, "floe:join"),
)
POLICIES = {**{route.policy: operator for route in ROUTES}, "floe:join": public}
