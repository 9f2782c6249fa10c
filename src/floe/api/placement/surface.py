"""The placement surface: the read side of Placement; what is taken is written by the conductor alone."""

from __future__ import annotations

from floe.api.kit.policy import Rule, in_project, public
from floe.api.kit.surface import Microversions, Surface
from floe.api.placement import allocation_candidates, allocations, resource_providers, traits, versions
from floe.api.placement.faults import placement_envelope

_NOUNS = (versions, resource_providers, allocations, allocation_candidates, traits)

POLICIES: dict[str, Rule] = {
    name: rule if rule is public else in_project(rule) for noun in _NOUNS for name, rule in noun.POLICIES.items()
}

SURFACE = Surface(
    name="placement",
    routes=tuple(route for noun in _NOUNS for route in noun.ROUTES),
    policies=POLICIES,
    envelope=placement_envelope,
    microversions=Microversions("placement", versions.LOWEST, versions.HIGHEST),
)
