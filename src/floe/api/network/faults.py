"""Faults as Neutron writes them: `type` is Neutron's name for what went wrong."""

from __future__ import annotations

from typing import Any

TYPES = {
    "invalid": "BadRequest",
    "unauthenticated": "NotAuthorized",
    "forbidden": "PolicyNotAuthorized",
    "not_found": "NotFound",
    "conflict": "Conflict",
    "over_quota": "OverQuota",
    "in_use": "InUse",
    "address_in_use": "IpAddressInUse",
    "mac_in_use": "MacAddressInUse",
    "no_address": "IpAddressGenerationFailure",
    "group_in_use": "SecurityGroupInUse",
    "rule_exists": "SecurityGroupRuleExists",
    "too_large": "RequestEntityTooLarge",
    "unavailable": "ServiceUnavailable",
}


def network_envelope(_status: int, kind: str, message: str, _request_id: str) -> Any:
    """Write a fault."""
    return {"NeutronError": {"type": TYPES.get(kind, "HTTPInternalServerError"), "message": message, "detail": ""}}
