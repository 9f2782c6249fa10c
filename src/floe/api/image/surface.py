"""The image surface: its routes, policies and envelope."""

from __future__ import annotations

from floe.api.image import data, discovery, images, members, schemas
from floe.api.image.faults import image_envelope
from floe.api.image.policies import POLICIES
from floe.api.kit.surface import Surface

_NOUNS = (discovery, schemas, images, data, members)

SURFACE = Surface(
    name="image",
    routes=tuple(route for noun in _NOUNS for route in noun.ROUTES),
    policies=POLICIES,
    envelope=image_envelope,
)
