"""The network that a project is given without asking for its parts: network, subnet, and router to the outside."""

from __future__ import annotations

import msgspec

from floe.core.errors import Conflict


class Topology(msgspec.Struct, frozen=True, kw_only=False):
    """What was allocated to a project. Its owner may have removed the router since."""

    project_id: str
    network_id: str
    router_id: str | None


class CannotAllocate(Conflict):
    """The cloud is not set up such that a project could be given a network; the text says what is missing."""

    kind = "cannot_allocate"
