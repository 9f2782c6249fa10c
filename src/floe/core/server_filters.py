"""Which servers somebody wants to see."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from floe.core.patterns import address_range, plain


class ServerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on servers; all of them must hold, and one that is None (or empty) holds for every server.

    `search` has pairs of a field and a regular expression that is searched for in it, `equal` maps fields to a value
    or a tuple of allowed values.
    """

    project_id: str | None = None
    search: tuple[tuple[str, str], ...] = ()
    equal: Mapping[str, Any] = msgspec.field(default_factory=dict)
    states: tuple[tuple[str, tuple[str | None, ...] | None], ...] | None = None
    """Allowed pairs of vm_state and task_states (None: any). An empty tuple: no server fits."""
    changed_since: datetime | None = None
    changed_before: datetime | None = None
    deleted: bool | None = False
    """None: gone or not."""
    soft_deleted: bool = False
    """Whether soft-deleted ones are wanted too, among those that are gone or those that are not."""
    tags: tuple[str, ...] = ()
    any_tags: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()
    not_any_tags: tuple[str, ...] = ()
    address: str | None = None
    """A regular expression that is searched for in the server's IPv4 addresses."""
    address6: str | None = None
    """Likewise for IPv6, which no server has here. One of both kinds is enough."""

    @property
    def thorough(self) -> bool:
        """Whether rows have to be looked at one by one, which takes long."""
        far = self.address is not None and address_range(self.address) is None
        return far or self.address6 is not None or any(plain(text) is None for _, text in self.search)
