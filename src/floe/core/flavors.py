"""Flavors: the sizes a server comes in, and the rules for their extra specs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from floe.core.errors import Invalid
from floe.core.servers import ServerFlavor

BUILT_IN: tuple[ServerFlavor, ...] = (
    ServerFlavor(flavor_id="0", name="m1.nano", vcpus=1, memory_mib=128, root_gib=1),
    ServerFlavor(flavor_id="1", name="m1.tiny", vcpus=1, memory_mib=512, root_gib=1),
    ServerFlavor(flavor_id="2", name="m1.small", vcpus=1, memory_mib=2048, root_gib=20),
    ServerFlavor(flavor_id="3", name="m1.medium", vcpus=2, memory_mib=4096, root_gib=40),
)
"""What every cloud starts with."""

_SPEC_KEY = re.compile(r"[a-zA-Z0-9-_:. ]{1,255}")


def check_extra_specs(specs: Mapping[str, str]) -> None:
    """Raise Invalid unless every key is 1 to 255 of letters, digits, `-_:. ` and every value at most 255 long."""
    for key, value in specs.items():
        if not _SPEC_KEY.fullmatch(key):
            raise Invalid(
                f"Extra spec key {key[:80]!r} is not valid: use 1 to 255 letters, digits, spaces, '-', '_', ':' or '.'."
            )
        if len(value) > 255:
            raise Invalid(f"The value of extra spec {key!r} is {len(value)} characters long; 255 is the most.")
