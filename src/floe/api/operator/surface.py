"""The operator's surface: what OpenStack has no API for."""

from __future__ import annotations

from floe.api.kit.faults import identity_envelope
from floe.api.kit.surface import Surface
from floe.api.operator import audit, image_quotas, purges, traces

SURFACE = Surface(
    name="floe",
    routes=(*audit.ROUTES, *image_quotas.ROUTES, *purges.ROUTES, *traces.ROUTES),
    policies={**audit.POLICIES, **image_quotas.POLICIES, **purges.POLICIES, **traces.POLICIES},
    envelope=identity_envelope,
)
