"""Faults as Neutron writes them: `type` is the name of Neutron's class, by which clients tell them apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from floe.api.network.nouns import NOUNS, PARTS


def _of_nouns() -> Iterator[tuple[str, str]]:
    """Give the names that Neutron makes of any noun's."""
    for noun in (*NOUNS, *PARTS):
        called = noun.name.title().replace("_", "")
        yield f"{noun.name}_not_found", f"{called}NotFound"
        yield f"{noun.name}_in_use", f"{called}InUse"


TYPES = {
    **dict(_of_nouns()),
    # what was sent
    "malformed": "HTTPBadRequest",
    "invalid": "InvalidInput",
    "bad_revision": "BadRequest",
    "no_cidr": "InvalidCIDR",
    # who asks
    "unauthenticated": "NotAuthorized",
    "forbidden": "PolicyNotAuthorized",
    "over_quota": "OverQuota",
    "not_authorized": "NotAuthorized",
    # what is not there
    "address_not_found": "AddressesNotFound",
    "agent_not_found": "AgentNotFound",
    "quota_not_found": "TenantQuotaNotFound",
    "tag_not_found": "TagNotFound",
    # agents
    "agent_of_host": "Conflict",
    "agent_of_another_kind": "Conflict",
    # routers and floating IPs
    "address_has_floating_ip": "FloatingIPPortAlreadyAssociated",
    "bad_auto_allocate_request": "BadRequest",
    "bad_floatingip_request": "BadRequest",
    "bad_router_request": "BadRequest",
    "bad_port_forwarding_request": "BadRequest",
    "bad_port_request": "BadRequest",
    "bad_routes": "InvalidRoutes",
    "floatingip_not_found": "FloatingIPNotFound",
    "floatingip_has_forwardings": "FipInUseByPortForwarding",
    "gateway_ip_in_use": "GatewayIpInUse",
    "gateway_in_use": "RouterExternalGatewayInUseByFloatingIp",
    "interface_in_use_by_floating_ip": "RouterInterfaceInUseByFloatingIP",
    "interface_in_use_by_route": "RouterInterfaceInUseByRoute",
    "other_subnet": "SubnetMismatchForPort",
    "port_has_floating_ip": "PortHasBindingFloatingIP",
    "router_interface_not_found": "RouterInterfaceNotFound",
    "router_interface_for_subnet_not_found": "RouterInterfaceNotFoundForSubnet",
    "too_many_interfaces": "RouterInterfaceAttachmentConflict",
    "way_out_not_found": "ExternalGatewayForFloatingIPNotFound",
    # networks
    "cannot_allocate": "AutoAllocationFailure",
    "default_exists": "DefaultExternalNetworkExists",
    "external_in_use": "ExternalNetworkInUse",
    "physical_in_use": "FlatNetworkInUse",
    "no_tag_left": "NoNetworkAvailable",
    "tag_in_use": "TunnelIdInUse",
    "used_by_others": "InvalidSharedSetting",
    # subnet pools and address scopes
    "bad_prefix_bounds": "IllegalSubnetPoolPrefixBounds",
    "bad_prefix_update": "IllegalSubnetPoolPrefixUpdate",
    "bad_scope": "IllegalSubnetPoolAssociationToAddressScope",
    "no_prefix_left": "SubnetAllocationError",
    "pool_has_subnets": "SubnetPoolDeleteError",
    "prefix_too_long": "MaxPrefixSubnetAllocationError",
    "prefix_too_short": "MinPrefixSubnetAllocationError",
    "scope_overlaps": "AddressScopePrefixConflict",
    "stays_shared": "AddressScopeUpdateError",
    "subnetpool_not_found": "SubnetPoolNotFound",
    # subnets
    "bad_service_type": "InvalidSubnetServiceType",
    "bad_subnets_request": "BadRequest",
    "other_pool": "NetworkSubnetPoolAffinityError",
    "gateway_in_pool": "GatewayConflictWithAllocationPools",
    "pool_outside_subnet": "OutOfBoundsAllocationPool",
    "pool_reversed": "InvalidAllocationPool",
    "pools_overlap": "OverlappingAllocationPools",
    "too_many_pools": "InvalidAllocationPool",
    "too_many_nameservers": "DNSNameServersExhausted",
    "too_many_routes": "HostRoutesExhausted",
    # ports
    "address_in_use": "IpAddressInUse",
    "address_outside_network": "InvalidIpForNetwork",
    "address_outside_subnet": "InvalidIpForSubnet",
    "groups_need_security": "PortSecurityAndIPRequiredForSecurityGroups",
    "mac_in_use": "MacAddressInUse",
    "no_address": "IpAddressGenerationFailure",
    "no_subnet_for_owner": "IpAddressGenerationFailureNoMatchingSubnet",
    "no_mac_left": "MacAddressGenerationFailure",
    "pair_given_twice": "DuplicateAddressPairInRequest",
    "pair_without_address": "AllowedAddressPairsMissingIP",
    "pairs_need_security": "AddressPairAndPortSecurityRequired",
    "port_bound": "PortBound",
    "port_has_groups": "PortSecurityPortHasSecurityGroup",
    "port_of_service": "ServicePortInUse",
    "reserved_owner": "UnsupportedPortDeviceOwner",
    "too_many_pairs": "AllowedAddressPairExhausted",
    # security groups
    "bad_range": "SecurityGroupInvalidPortRange",
    "default_group_cannot_go": "SecurityGroupCannotRemoveDefault",
    "default_group_exists": "SecurityGroupDefaultAlreadyExists",
    "default_group_stays": "SecurityGroupCannotUpdateDefault",
    "no_icmp_type": "SecurityGroupMissingIcmpType",
    "no_icmp_value": "SecurityGroupInvalidIcmpValue",
    "no_such_port": "SecurityGroupInvalidPortValue",
    "prefix_of_other_type": "SecurityGroupRuleParameterConflict",
    "protocol_of_other_type": "SecurityGroupEthertypeConflictWithProtocol",
    "protocol_without_ports": "SecurityGroupInvalidProtocolForPort",
    "range_without_protocol": "SecurityGroupProtocolRequiredWithPorts",
    "rule_exists": "SecurityGroupRuleExists",
    "several_remotes": "SecurityGroupMultipleRemoteEntites",
    "unknown_ethertype": "SecurityGroupRuleInvalidEtherType",
    "unknown_protocol": "SecurityGroupRuleInvalidProtocol",
    # address groups
    "address_in_group": "AddressesAlreadyExist",
    # any
    "outdated": "RevisionNumberConstraintFailed",
    "no_such_method": "HTTPMethodNotAllowed",
    "too_large": "HTTPRequestEntityTooLarge",
    "unavailable": "ServiceUnavailable",
}
"""By the core's reasons."""

_OTHERS = {400: "BadRequest", 404: "HTTPNotFound", 409: "Conflict", 429: "HTTPTooManyRequests"}
"""By status, for reasons that have no name of their own."""


def network_envelope(status: int, reason: str, message: str, _request_id: str) -> Any:
    """Write a fault."""
    name = TYPES.get(reason) or _OTHERS.get(status, "HTTPInternalServerError")
    return {"NeutronError": {"type": name, "message": message, "detail": ""}}
