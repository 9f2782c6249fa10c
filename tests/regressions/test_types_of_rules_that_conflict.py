"""A security group rule whose parts are of different IP versions is refused in Neutron's words.

Tempest looks for them; ours were others.
"""

from __future__ import annotations

from typing import Any

import pytest

from floe.core.errors import Invalid
from floe.core.security_groups import checked_rule


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"ethertype": "IPv6", "remote_cidr": "10.0.0.0/16"}, "Conflicting value ethertype IPv6 for CIDR 10.0.0.0/16"),
        (
            {"ethertype": "IPv4", "remote_cidr": "2001:db8::/64"},
            "Conflicting value ethertype IPv4 for CIDR 2001:db8::/64",
        ),
        ({"ethertype": "IPv4", "protocol": "ipv6-icmp"}, "Invalid ethertype IPv4 for protocol ipv6-icmp"),
    ],
)
def test_the_words_are_neutrons(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(Invalid, match=text):
        checked_rule({"direction": "ingress", **asked})
