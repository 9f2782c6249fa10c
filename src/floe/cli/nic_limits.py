"""Can this machine limit what guests send and receive?"""

from __future__ import annotations

import asyncio
import os

from floe.cli.findings import Finding, Level
from floe.core.errors import HostFailure
from floe.dataplane.linux import nic_limits
from floe.dataplane.linux.loaded import are_loadable
from floe.dataplane.linux.run import find_program


def look() -> bool | None:
    """Ask the kernel; None where it cannot be asked."""
    if os.geteuid() != 0 or find_program("nft") is None:
        return None
    try:
        return asyncio.run(are_loadable(nic_limits.TRIAL))
    except HostFailure:
        return None


def finding(can: bool | None) -> Finding:
    """Return what that comes to."""
    if can:
        return Finding(name="NIC limits", level=Level.OK, what="the kernel can limit what guests send and receive")
    if can is None:
        what = "the kernel could not be asked whether it can limit what guests send and receive (quota:vif_*)"
        remedy = "run floe doctor as root, with nftables installed"
    else:
        what = "the kernel lacks nft_limit: servers of flavors with quota:vif_* do not run here"
        remedy = "modprobe nft_limit, or use a kernel with CONFIG_NFT_LIMIT; then start Floe again"
    return Finding(name="NIC limits", level=Level.WARN, what=what, remedy=remedy)
