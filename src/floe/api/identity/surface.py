"""The identity surface: its routes, policies and envelope."""

from __future__ import annotations

from floe.api.identity import (
    application_credentials,
    assignments,
    auth,
    catalogue,
    domains,
    groups,
    projects,
    roles,
    users,
    versions,
)
from floe.api.identity.faults import identity_envelope
from floe.api.kit.surface import Surface

_NOUNS = (
    versions,
    auth,
    domains,
    projects,
    users,
    groups,
    roles,
    assignments,
    application_credentials,
    catalogue,
)

SURFACE = Surface(
    name="identity",
    routes=[route for noun in _NOUNS for route in noun.ROUTES],
    policies={name: rule for noun in _NOUNS for name, rule in noun.POLICIES.items()},
    envelope=identity_envelope,
    trailing_slash=True,
)
