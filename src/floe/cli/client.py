"""A small client of our own API for the commands of `floe`: no dependency, and quick to start."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from floe.core.errors import Conflict, FloeError, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from floe.core.ids import is_uuid

_TIMEOUT = 30
_KINDS: Mapping[int, type[FloeError]] = {400: Invalid, 401: Unauthenticated, 403: Forbidden, 409: Conflict}
"""Statuses whose message says it all."""


class Client:
    """Speaks to a cloud with the credentials of one entry of clouds.yaml."""

    def __init__(self, access: Mapping[str, str]) -> None:
        self._access = access
        self._root = access["auth_url"].rsplit("/identity", 1)[0]
        self._token: str | None = None

    def get(self, path: str, *, compute: str = "latest") -> Any:
        """Return the JSON at a path below the port, like `/compute/v2.1/servers`, at a microversion of compute.

        Raises NotFound, Unavailable.
        """
        if self._token is None:
            self._token = self._login()
        return self._ask("GET", path, None, compute=compute)[0]

    def post(self, path: str, body: Any = None, *, seconds: float = _TIMEOUT) -> Any:
        """Do the POST and return its JSON; the answer may take so many seconds."""
        return self._send("POST", path, body, seconds)

    def put(self, path: str, body: Any) -> Any:
        """Do the PUT and return its JSON."""
        return self._send("PUT", path, body)

    def delete(self, path: str) -> None:
        """Do the DELETE."""
        self._send("DELETE", path, None)

    def server_id(self, server: str) -> str:
        """Return the id of a server given by id or by name, the newest of that name."""
        if is_uuid(server):
            return server  # one that is gone still has its history
        asked = f"/compute/v2.1/servers?name={quote(f'^{re.escape(server)}$', safe='')}"
        try:
            found = self.get(f"{asked}&all_tenants=1")["servers"]
        except Forbidden:  # whoever it is sees those of its own project alone
            found = self.get(asked)["servers"]
        if not found:
            raise NotFound("server", server)
        return str(found[0]["id"])

    def _send(self, method: str, path: str, body: Any, seconds: float = _TIMEOUT) -> Any:
        if self._token is None:
            self._token = self._login()
        return self._ask(method, path, body, seconds)[0]

    def _login(self) -> str:
        access = self._access
        user = {
            "name": access["username"],
            "domain": {"name": access["user_domain_name"]},
            "password": access["password"],
        }
        scope: dict[str, Any] = {"system": {"all": True}}
        if "project_name" in access:
            domain = {"name": access["project_domain_name"]}
            scope = {"project": {"name": access["project_name"], "domain": domain}}
        identity = {"methods": ["password"], "password": {"user": user}}
        _, headers = self._ask(
            "POST", "/identity/v3/auth/tokens?nocatalog", {"auth": {"identity": identity, "scope": scope}}
        )
        return headers["x-subject-token"]

    def _ask(
        self, method: str, path: str, body: Any, seconds: float = _TIMEOUT, *, compute: str = "latest"
    ) -> tuple[Any, dict[str, str]]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "OpenStack-API-Version": f"compute {compute}"}
        if self._token:
            headers["X-Auth-Token"] = self._token
        # The address is that of our own clouds.yaml.
        request = urllib.request.Request(self._root + path, data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=seconds) as reply:  # noqa: S310
                return json.loads(reply.read() or b"null"), {key.lower(): value for key, value in reply.headers.items()}
        except urllib.error.HTTPError as error:
            raise refusal(error.code, error.read().decode("utf-8", "replace"), path) from error
        except OSError as error:
            raise Unavailable(f"The cloud at {self._root} does not answer: {error}. Is `floe up` running?") from error


def refusal(status: int, text: str, path: str) -> FloeError:
    """Return as an error what the cloud answered a call with: what it says itself of what was asked, else more."""
    try:
        (fault,) = json.loads(text).values()
        message = str(fault["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        message = text[:200]
    if status == 404:
        return NotFound("resource", path, message)
    if kind := _KINDS.get(status):
        return kind(message)
    return Unavailable(f"{path} was answered with {status}: {message}")
