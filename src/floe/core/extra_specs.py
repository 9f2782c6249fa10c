"""Extra specs of flavors whose names say what they do: checked, so that a slip of the pen is not silently ignored.

A key is `namespace:name`. In the namespaces below only these names, with these values, are good; what stands in
another namespace, or in none, is the operator's own and goes unchecked. Source: the compute API's 2.86.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from floe.core.errors import Invalid

_BOOLEAN = r"(?i:true|false|yes|no|1|0|on|off|t|f|y|n)"
_NUMBER = r"[0-9]{1,10}"

_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"resources\d*:(VCPU|MEMORY_MB|DISK_GB|[A-Z0-9_]+)", _NUMBER, "a whole number"),
    (r"trait\d*:[A-Z0-9_]+", r"required|forbidden", "'required' or 'forbidden'"),
    (r"hw:cpu_policy", r"dedicated|shared|mixed", "dedicated, shared or mixed"),
    (r"hw:cpu_thread_policy", r"prefer|isolate|require", "prefer, isolate or require"),
    (r"hw:cpu_dedicated_mask", r"[\^,\d-]+", "a list of CPU numbers"),
    (r"hw:(max_)?cpu_(cores|sockets|threads)", _NUMBER, "a whole number"),
    (r"hw:emulator_threads_policy", r"isolate|share", "isolate or share"),
    (r"hw:mem_page_size", r"large|small|any|\d+([kKMGT]i?)?[bB]?", "large, small, any or a size"),
    (r"hw:numa_nodes", r"[1-9]\d{0,3}", "a whole number of 1 or more"),
    (r"hw:numa_(cpus|mem)\.\d+", r"[\^,\d-]+", "a list of numbers"),
    (r"hw:(pci_numa_affinity_policy)", r"required|preferred|legacy|socket", "a known policy"),
    (r"hw:(boot_menu|mem_encryption|hide_hypervisor_id|locked_memory|pmu)", _BOOLEAN, "a boolean"),
    (r"hw:watchdog_action", r"none|pause|poweroff|reset|disabled", "a known action"),
    (r"hw:serial_port_count", _NUMBER, "a whole number"),
    (r"hw:(vif_multiqueue_enabled|tpm_secret_security)", r".*", "any text"),
    (r"hw:(cpu_realtime)", _BOOLEAN, "a boolean"),
    (r"hw:(cpu_realtime_mask|pmem|tpm_model|tpm_version|maxphysaddr_mode|maxphysaddr_bits)", r".*", "any text"),
    (r"hw_rng:allowed", _BOOLEAN, "a boolean"),
    (r"hw_rng:rate_(bytes|period)", _NUMBER, "a whole number"),
    (r"hw_video:ram_max_mb", _NUMBER, "a whole number"),
    (r"quota:(cpu|memory)_(limit|reservation|shares_share|shares_level|period|quota|shares)", r".*", "any text"),
    (r"quota:(disk_io|vif)_(limit|reservation|shares_share|shares_level)", r".*", "any text"),
    (r"quota:disk_(read|write|total)_(bytes|iops)_sec(_max)?(_length)?", _NUMBER, "a whole number"),
    (r"quota:vif_(inbound|outbound)_(average|burst|peak)", _NUMBER, "a whole number"),
    (r"os:secure_boot", r"required|disabled|optional", "required, disabled or optional"),
)
_COMPILED = tuple((re.compile(key), re.compile(value), words) for key, value, words in _KNOWN)
_NAMESPACES = re.compile(r"(resources\d*|trait\d*|hw|hw_rng|hw_video|quota|os):.*")


def check_known(specs: Mapping[str, str]) -> None:
    """Raise Invalid for a key in a known namespace that is not known, or whose value cannot be meant."""
    for key, value in specs.items():
        if not _NAMESPACES.fullmatch(key):
            continue
        for known, wanted, words in _COMPILED:
            if known.fullmatch(key):
                if not wanted.fullmatch(value):
                    raise Invalid(f"Validation failed; extra spec {key!r} must be {words} (it is {value[:80]!r}).")
                break
        else:
            raise Invalid(
                f"Validation failed; extra spec {key!r} does not appear to be a valid extra spec of its namespace."
            )
