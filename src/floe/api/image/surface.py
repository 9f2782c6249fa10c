"""The image surface: its routes, policies and envelope."""

from __future__ import annotations

from floe.api.image import data, discovery, images, members, schemas
from floe.api.image.policies import POLICIES
from floe.api.kit.faults import image_envelope
from floe.api.kit.surface import Surface

SURFACE = Surface(
    name="image",
    routes=(*discovery.ROUTES, *schemas.ROUTES, *images.ROUTES, *data.ROUTES, *members.ROUTES),
    policies=POLICIES,
    envelope=image_envelope,
)
