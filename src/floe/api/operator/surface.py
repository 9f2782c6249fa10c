"""The operator's surface: what OpenStack has no API for."""

from __future__ import annotations

from floe.api.kit.surface import Surface
from floe.api.operator import audit, blobs, hosts, image_quotas, packets, purges, snapshots, traces
from floe.api.operator.faults import operator_envelope

_NOUNS = (audit, blobs, hosts, image_quotas, packets, purges, snapshots, traces)

SURFACE = Surface(
    name="floe",
    routes=tuple(route for noun in _NOUNS for route in noun.ROUTES),
    policies={name: rule for noun in _NOUNS for name, rule in noun.POLICIES.items()},
    envelope=operator_envelope,
)
