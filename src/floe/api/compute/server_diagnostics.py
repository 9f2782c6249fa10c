"""/servers/{server_id}/diagnostics: what a guest has used, for administrators."""

from __future__ import annotations

from typing import Any

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin
from floe.api.kit.routing import Route
from floe.cloud import server_diagnostics as cloud
from floe.cloud.server_diagnostics import Diagnosed
from floe.core.guest_questions import Diagnostics

_KIB_PER_MIB = 1024


async def show(call: Call) -> Reply:
    """GET: as libvirt names it, and from 2.48 on as Nova does."""
    found = await cloud.show(call.cloud, call.context, call.params["server_id"])
    return Reply(200, _shown(found) if call.version >= (2, 48) else _free(found.used))


def _free(used: Diagnostics) -> dict[str, int]:
    told: dict[str, int] = {f"cpu{index}_time": time for index, time in enumerate(used.cpus)}
    for disk in used.disks:
        told |= {
            f"{disk.device}_read_req": disk.read_requests,
            f"{disk.device}_read": disk.read_bytes,
            f"{disk.device}_write_req": disk.write_requests,
            f"{disk.device}_write": disk.write_bytes,
            f"{disk.device}_errors": disk.errors,
        }
    for nic in used.nics:
        told |= {
            f"{nic.device}_rx": nic.rx_bytes,
            f"{nic.device}_rx_packets": nic.rx_packets,
            f"{nic.device}_rx_errors": nic.rx_errors,
            f"{nic.device}_rx_drop": nic.rx_drops,
            f"{nic.device}_tx": nic.tx_bytes,
            f"{nic.device}_tx_packets": nic.tx_packets,
            f"{nic.device}_tx_errors": nic.tx_errors,
            f"{nic.device}_tx_drop": nic.tx_drops,
        }
    return told | {"memory": used.memory_max} | {f"memory-{name}": value for name, value in used.memory.items()}


def _shown(found: Diagnosed) -> dict[str, Any]:
    used, server = found.used, found.server
    up = (found.now - server.launched_at).total_seconds() if server.launched_at else 0
    return {
        "state": "running",  # no other guest is asked
        "driver": "libvirt",
        "hypervisor": found.hypervisor.lower(),
        "hypervisor_os": "linux",
        "uptime": int(up),
        "config_drive": server.config_drive,
        "num_cpus": len(used.cpus),
        "num_nics": len(used.nics),
        "num_disks": len(used.disks),
        "memory_details": {
            "maximum": used.memory_max // _KIB_PER_MIB,
            "used": used.memory_used // _KIB_PER_MIB,
        },
        "cpu_details": [{"id": index, "time": time, "utilisation": None} for index, time in enumerate(used.cpus)],
        "disk_details": [
            {
                "read_bytes": disk.read_bytes,
                "read_requests": disk.read_requests,
                "write_bytes": disk.write_bytes,
                "write_requests": disk.write_requests,
                "errors_count": disk.errors,
            }
            for disk in used.disks
        ],
        "nic_details": [
            {
                "mac_address": nic.mac,
                "rx_octets": nic.rx_bytes,
                "rx_errors": nic.rx_errors,
                "rx_drop": nic.rx_drops,
                "rx_packets": nic.rx_packets,
                "rx_rate": None,
                "tx_octets": nic.tx_bytes,
                "tx_errors": nic.tx_errors,
                "tx_drop": nic.tx_drops,
                "tx_packets": nic.tx_packets,
                "tx_rate": None,
            }
            for nic in used.nics
        ],
    }


_RULE = "os_compute_api:os-server-diagnostics"

ROUTES = (Route("GET", "/v2.1/servers/{server_id}/diagnostics", show, _RULE, query=ONCE_OPEN),)

POLICIES = {_RULE: admin}
