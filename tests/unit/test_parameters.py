"""docs/PARAMETERS.md says what becomes of each thing that a create takes; it is made here, from the code."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from floe.api.compute.server_bodies import CREATE
from floe.api.compute.versions import HIGHEST, LOWEST
from floe.core.extra_specs import EXTRA_SPECS, OTHER_CLASSES, SMALL_PAGES
from floe.core.image_properties import IMAGE_PROPERTIES
from floe.core.nic_limits import RATES, WAYS
from floe.core.properties import OBEYED, PLAIN, REFUSED, Properties, Property
from floe.core.versions import version_text

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/PARAMETERS.md"
ANYWAY = {
    SMALL_PAGES: "small, any, 4KiB",
    "0+": "0", "normal": "normal", r"0+|-[0-9]+": "0, or less", r"\s*|\[\s*\]": "nothing, []",
}  # fmt: skip
"""Patterns of harmless values, in words, where these are not plain."""

HEAD = """\
# What a create asks for, and what becomes of it

Made from the code, and a table of its tests, by `FLOE_WRITE_GOLDENS=1 pytest tests/unit/test_parameters.py`; that test
compares, too.
"""
OF_CREATES = """
## Fields of the create

Tests in `e2e` look from inside real guests, the others at what the API shows and at what hosts are told. What a create
refuses of each field is in `tests/functional/compute/test_server_create.py`. The guest of `e2e/test_debian.py`
is Debian with the real cloud-init; `scripts/test-debian` runs it, `scripts/test` does not.
"""
GUESTS, DOCUMENTS, WITHIN = "e2e/test_guests.py", "e2e/test_documents.py", "e2e/test_inside_guests.py"
SDK, CLIENT = "functional/clients/test_openstacksdk.py", "functional/clients/test_openstack_client.py"
TRUSTED = "functional/test_signed_images.py::test_a_server_runs_what_was_signed_under_a_certificate_that_it_trusts"
CREATES, HARDWARE = "functional/compute/test_server_create.py", "e2e/test_guest_hardware.py"
REFUSES = f"{CREATES}::test_a_create_that_cannot_be_is_refused_with_field_and_value"
EVERYTHING = f"{SDK}::test_a_server_with_everything_one_can_ask_for"
SHOWN = f"{CREATES}::test_what_is_asked_for_is_shown_as_it_was_asked_for"
TOGETHER = f"{CREATES}::test_several_are_made_together_with_numbered_names"
METADATA = f"{GUESTS}::test_metadata_answers_about_the_guest_that_asks"
SHAPED = f"{HARDWARE}::test_a_guest_has_the_cpus_disks_and_devices_that_were_asked_for"
DRIVE = f"{GUESTS}::test_the_config_drive_says_what_the_metadata_service_says"
TRUTH = f"{DOCUMENTS}::test_drive_and_service_tell_a_real_guest_the_same_and_the_truth"
BETWEEN = f"{CREATES}::test_between_min_and_max_as_many_are_made_as_the_quota_allows"
HUNDRED = f"{CREATES}::test_a_hundred_are_made_in_one_call"
FITTING = "regressions/test_as_many_as_fit.py"
BY_DRIVE = "e2e/test_debian.py::test_cloud_init_takes_everything_from_the_config_drive"
BY_SERVICE = "e2e/test_debian.py::test_cloud_init_takes_everything_from_the_metadata_service"
RESIZED = "e2e/test_resize.py::test_a_resized_guest_is_larger_and_goes_back_to_what_it_was_or_stays"
DISK_CONFIG = "functional/compute/test_disk_config.py::test_a_guest_is_told_what_user_or_image_ask_for_and_nothing_else"
NONE_OF_ITS = "nothing: it is none of its business"
SEVERAL = "functional/test_device_tags.py::test_several_disks_stay_what_they_are_whatever_becomes_of_their_server"
CHOSEN = f"{CLIENT}::test_disks_a_password_and_a_host_of_ones_choice"
Look = tuple[str, tuple[str, ...]]
SEEN: dict[str, Look] = {
    "name": ("its name in the metadata, and the hostname that follows from it", (METADATA, TOGETHER)),
    "flavorRef": ("vCPUs in their sockets and cores, disks with their sizes, devices", (SHAPED, TRUTH)),
    "imageRef": (
        "that image booted, with its kernel and ramdisk where it names them",
        (f"{GUESTS}::test_a_guest_boots_the_kernel_and_ramdisk_of_its_image", SHAPED),
    ),
    "min_count": (
        "the name `papers-2` of the second, and its number 1, in its metadata and as its hostname",
        (TRUTH, BETWEEN, f"{FITTING}::test_room_for_four_where_five_are_the_least_makes_none_and_says_why", HUNDRED),
    ),
    "max_count": (
        "as `min_count`",
        (TRUTH, BETWEEN, f"{FITTING}::test_room_for_four_of_nine_makes_four_and_leaves_no_trace_of_five"),
    ),
    "return_reservation_id": ("the one id of all, in its metadata", (TRUTH, TOGETHER, HUNDRED)),
    "key_name": (
        "the key in its metadata; it lets that key in by SSH, be it ed25519, ECDSA or RSA, and no other",
        (
            METADATA,
            TRUTH,
            f"{GUESTS}::test_one_logs_in_by_its_key_and_by_no_other",
            "e2e/test_guest_agents.py::test_one_logs_in_by_its_key_of_elliptic_curves_and_by_no_other",
            "e2e/test_passwords_of_guests.py::test_one_logs_in_by_its_rsa_key_and_by_no_other",
        ),
    ),
    "security_groups": (
        "what they let in reaches it, and nothing else",
        (f"{GUESTS}::test_a_security_group_blocks_and_then_admits", TRUTH),
    ),
    "availability_zone": (
        "the zone, in its metadata",
        (
            TRUTH,
            "functional/conductor/test_aggregates.py::test_a_server_goes_to_the_zone_that_an_aggregate_makes",
            "functional/conductor/test_aggregates.py::test_a_server_of_no_zone_is_told_the_one_it_got_into",
        ),
    ),
    "user_data": (
        "the script ran once; parts of MIME, gzipped; cloud-config; the same bytes by drive and service",
        (
            f"{GUESTS}::test_user_data_ran_once_in_each",
            f"{WITHIN}::test_parts_of_user_data_run_in_order_and_what_is_not_run_is_said",
            TRUTH,
            BY_SERVICE,
        ),
    ),
    "metadata": ("`meta` in the metadata", (METADATA,)),
    "personality": ("the file's path and content", (f"{GUESTS}::test_files_given_at_the_create_reach_the_guest",)),
    "adminPass": (
        "one logs in with it; with a config drive, or an agent in the guest, which is told it once",
        (
            f"{GUESTS}::test_one_can_log_in_with_the_admin_password",
            "e2e/test_guest_agents.py::test_an_agent_is_told_the_password_that_the_create_answered_where_no_drive_tells_it",
            BY_DRIVE,
            BY_SERVICE,
        ),
    ),
    "block_device_mapping": (
        "as `block_device_mapping_v2`, swap and ephemeral disks; volumes are refused",
        (SEVERAL, REFUSES),
    ),
    "block_device_mapping_v2": (
        "disks of the sizes asked for, several ephemeral ones too, by the names it is told and on their buses, with "
        "the file systems that they are to have, or for swapping, one a CD; with a `tag` "
        "(2.32, from 2.42), by drive and service, which of its disks it is",
        (TRUTH, CHOSEN, SEVERAL, f"{CREATES}::test_an_empty_image_is_none_and_the_block_device_says_what_to_boot"),
    ),
    "accessIPv4": (NONE_OF_ITS, (SHOWN, REFUSES)),
    "accessIPv6": (NONE_OF_ITS, (SHOWN, REFUSES)),
    "networks": (
        "its NICs in the order asked, also after restarts; with a `tag` (2.32 to 2.36, from 2.42), which of them it is",
        (
            TRUTH,
            f"{WITHIN}::test_nics_are_in_the_order_asked_for_also_after_restarts",
            f"{GUESTS}::test_two_guests_on_one_network_reach_each_other",
        ),
    ),
    "config_drive": ("a CD labelled config-2 that says what the service says", (DRIVE, TRUTH, BY_DRIVE)),
    "OS-DCF:diskConfig": (
        "MANUAL: vendor data, by drive and service, for cloud-init to leave the root file system, and it was left; "
        "AUTO: it grows with its disk",
        (TRUTH, RESIZED, BY_DRIVE, BY_SERVICE, DISK_CONFIG, SHOWN, REFUSES),
    ),
    "description": (NONE_OF_ITS, (SHOWN, EVERYTHING)),
    "tags": (NONE_OF_ITS, (SHOWN, EVERYTHING, f"{CREATES}::test_a_create_makes_row_and_action_and_nudges_a_conductor")),
    "trusted_image_certificates": (
        "nothing: it is not made of an image that was not signed under one of them",
        (TRUSTED, REFUSES),
    ),
    "host": (NONE_OF_ITS, (CHOSEN, REFUSES)),
    "hypervisor_hostname": (
        NONE_OF_ITS,
        (SHOWN, "functional/compute/test_bodies.py::test_what_nova_refuses_is_refused"),
    ),
    "hostname": (
        "its name in DNS, by itself and with the domain",
        (f"{WITHIN}::test_both_names_of_a_server_resolve_and_follow_changes",),
    ),
    "os:scheduler_hints": (
        NONE_OF_ITS,
        (
            "unit/scheduler/test_hints.py::test_a_query_keeps_the_hosts_of_which_it_holds",
            "unit/scheduler/test_hints.py::test_near_an_address_are_the_hosts_of_its_network",
            f"{CREATES}::test_hints_are_kept_and_those_that_do_nothing_are_told",
            f"{CREATES}::test_group_members_are_limited",
        ),
    ),
    "OS-SCH-HNT:scheduler_hints": (NONE_OF_ITS, (f"{CREATES}::test_the_old_name_of_hints_is_the_same",)),
}
"""Of each field: what the guest saw, and which tests show it."""

SELECT, AGGREGATES = "unit/scheduler/test_select.py", "functional/conductor/test_aggregates.py"
XML = "unit/test_properties.py::test_what_is_obeyed_by_the_hypervisor_changes_the_guest"
OTHER = f"{HARDWARE}::test_a_guest_has_another_nic_and_bus_and_neither_agent_nor_randomness"
KINDS = f"{HARDWARE}::test_a_machine_of_another_kind_starts"
FIRMWARE = f"{HARDWARE}::test_a_guest_with_uefi_keeps_its_variables_until_it_goes"
DIRECT = f"{GUESTS}::test_a_guest_boots_the_kernel_and_ramdisk_of_its_image"
RESCUED = "e2e/test_rescue.py::test_a_rescued_guest_has_its_own_disk_beside_it"
ASKED_OF_HOSTS = f"{SELECT}::test_a_spec_is_read_from_flavor_image_and_hints"
GROUPED = f"{SELECT}::test_what_a_flavor_asks_of_a_group_of_resources_is_asked_of_the_host"
OLD_NAMES = f"{SELECT}::test_an_image_asks_the_same_by_its_old_names"
UNFIT = "functional/test_server_rebuild.py::test_an_image_that_its_host_cannot_run_leaves_it_as_it_was"
ROOT_NAME = "unit/test_properties.py::test_what_contradicts_itself_is_refused"
OF_HOSTS = "nothing: it chooses the host"
STARTED = "nothing; what QEMU was started with says it"
HIDING = "nothing: only KVM would tell it; what libvirt is told says it"
CPUS = "its CPUs in their sockets"
SLOW = "how long its disk takes"
RULES = "nothing; the rules of its tap say it"
CARRIED = "how long it takes to send and receive"
NIC_LIMITS = "contract/dataplane/test_nic_limits.py::test_a_guest_has_what_it_may_and_no_more"
OBEYED_SPECS: dict[str, Look] = {
    **{f"hw:cpu_{part}": (CPUS, (SHAPED, XML)) for part in ("sockets", "cores")},
    **{f"hw:cpu_{part}": (CPUS, (OTHER, XML)) for part in ("threads", "max_sockets", "max_cores", "max_threads")},
    "hw:boot_menu": (STARTED, (SHAPED, XML)),
    "hw:hide_hypervisor_id": (HIDING, (XML,)),
    "hide_hypervisor_id": (HIDING, (XML,)),
    "hw:usb_model": ("the controller", (OTHER, XML)),
    "hw:vif_multiqueue_enabled": ("the queues of its NIC", (SHAPED, XML)),
    "hw:watchdog_action": ("the device; started and not fed, it turned the guest off", (SHAPED, XML)),
    "hw_rng:allowed": ("no such device", (OTHER, XML)),
    "hw_rng:rate_bytes": (STARTED, (SHAPED, XML)),
    "hw_rng:rate_period": (STARTED, (SHAPED, XML)),
    "hw_video:ram_max_mb": ("the device with that memory", (SHAPED, XML)),
    **{f"quota:disk_{each}_sec": (SLOW, (SHAPED, XML)) for each in ("read_bytes", "write_bytes", "total_iops")},
    **{f"quota:disk_{each}_sec": (SLOW, (OTHER, XML)) for each in ("total_bytes", "read_iops", "write_iops")},
    **{f"quota:vif_{way}_average": (CARRIED, (SHAPED, NIC_LIMITS)) for way in WAYS},
    **{f"quota:vif_{way}_{rate}": (RULES, (OTHER, NIC_LIMITS)) for way in WAYS for rate in RATES[1:]},
    **{f"resources{{group}}:{name}": (OF_HOSTS, (ASKED_OF_HOSTS, GROUPED)) for name in OTHER_CLASSES},
    "trait{group}:{name}": (OF_HOSTS, (ASKED_OF_HOSTS, GROUPED)),
    "aggregate_instance_extra_specs:{key}": (OF_HOSTS, (f"{AGGREGATES}::test_a_flavor_chooses_the_aggregates",)),
}
OBEYED_PROPERTIES: dict[str, Look] = {
    "hw_machine_type": ("the host bridge of a q35", (FIRMWARE, KINDS)),
    "hw_disk_bus": ("disks on the buses virtio, scsi and ide", (TRUTH, SHAPED, OTHER)),
    "hw_vif_model": ("the model", (OTHER, KINDS)),
    "hw_firmware_type": ("the firmware's services, and variables that it wrote", (FIRMWARE, KINDS)),
    **dict.fromkeys(("hw_architecture", "img_hv_type", "trait:{name}"), (OF_HOSTS, (ASKED_OF_HOSTS, UNFIT))),
    **dict.fromkeys(("architecture", "hypervisor_type"), (OF_HOSTS, (OLD_NAMES,))),
    "img_config_drive": ("the drive", (OTHER,)),
    "kernel_id": ("the kernel", (DIRECT, XML)),
    "ramdisk_id": ("the ramdisk", (DIRECT, XML)),
    "os_command_line": ("the line, in /proc/cmdline", (DIRECT, XML)),
    **{
        f"img_signature{part}": ("nothing: what it boots was verified", (TRUSTED,))
        for part in ("", "_hash_method", "_key_type", "_certificate_uuid")
    },
    **{f"hw_cpu_{part}": (CPUS, (OTHER, XML)) for part in ("sockets", "cores", "threads")},
    **{f"hw_cpu_max_{part}": (CPUS, (SHAPED, XML)) for part in ("sockets", "cores", "threads")},
    "hw_boot_menu": (STARTED, (OTHER, XML)),
    "hw_cdrom_bus": ("the drive on the bus scsi", (SHAPED, XML)),
    "hw_rescue_bus": ("the disk on that bus, and its own beside it", (RESCUED,)),
    "hw_rescue_device": ("the disk that it booted, and its own beside it", (RESCUED,)),
    "hw_scsi_model": (STARTED, (KINDS, XML)),
    "hw_usb_model": ("the controller", (SHAPED, XML)),
    "hw_rng_model": ("the device", (SHAPED,)),
    "hw_watchdog_action": ("the device; started and not fed, it paused the guest", (OTHER, XML)),
    "hw_video_model": ("the device", (SHAPED, KINDS)),
    "hw_video_ram": ("the device with that memory", (SHAPED, XML)),
    "hw_qemu_guest_agent": (
        "the channel, through which its agent is asked; or none",
        ("e2e/test_guest_agents.py::test_an_agent_sets_the_password_that_is_asked_for", OTHER),
    ),
    "hw_time_hpet": ("a clock of that name, or none", (SHAPED, OTHER)),
    "img_hide_hypervisor_id": (HIDING, (XML,)),
    "os_type": (STARTED, (OTHER, XML)),
    "root_device_name": ("the disk by that name", (OTHER, ROOT_NAME)),
    "img_root_device_name": ("nothing: it is the same as `root_device_name`", (XML,)),
    "hw_auto_disk_config": ("as `OS-DCF:diskConfig`", (DISK_CONFIG,)),
    "auto_disk_config": ("as `OS-DCF:diskConfig`", (DISK_CONFIG,)),
    "os_shutdown_timeout": (
        "nothing: it is how long others wait for it",
        ("functional/conductor/test_power.py::test_an_image_says_how_long_its_guests_take_to_shut_down",),
    ),
    "os_admin_user": (
        "that user's password",
        ("e2e/test_guest_agents.py::test_an_agent_sets_the_password_that_is_asked_for",),
    ),
    "hw_vif_multiqueue_enabled": ("the queues of its NIC", (SHAPED, XML)),
    "os_require_quiesce": (
        "its file systems frozen by its agent, without which there is no image",
        ("e2e/test_images_of_servers.py::test_what_a_running_guest_wrote_is_in_a_server_made_of_its_image",),
    ),
}
"""Of what is obeyed of flavors and images: what the guest saw, and which tests show it."""

OF_FLAVORS = """
## Extra specs of flavors

*Obeyed* says how, what a guest saw of it, and which tests show it. *Refused*: a create with such a flavor is a 400 that
names the spec, but for the value that asks for what holds anyway. A spec that is not here is refused in the namespaces
that are (`hw:`, `hw_rng:`, `hw_video:`, `quota:`, `os:`, `resources:`, `trait:`, `capabilities:`, `accel:`,
`pci_passthrough:`, `vmware:`), and the operator's own in others. What contradicts itself, or what the image asks for,
is refused too.
"""
OF_IMAGES = """
## Properties of images

As above; *told* asks nothing of this cloud, and is kept for those who read it. A property that is not here is its
owner's own.
"""


def fields() -> Iterator[str]:
    """Yield a line for each field of a create, with the microversions that know it."""
    for name in dict.fromkeys(field.name for field in (*CREATE.fields, *CREATE.siblings)):
        known = [field for field in (*CREATE.fields, *CREATE.siblings) if field.name == name]
        saw, tests = SEEN[name]
        first, last = min(field.since for field in known), max(field.until for field in known)
        versions = f"from {version_text(first)}" if first > LOWEST else "all"
        if last < HIGHEST:
            versions = f"to {version_text(last)}"
        yield f"| `{name}` | {versions} | {saw} | {named(tests)} |"


def rows(table: Properties, seen: Mapping[str, Look]) -> Iterator[str]:
    """Yield a line for each name, families of names as one; those that are alike share a line."""
    alike: dict[tuple[str, str, str, Look], list[str]] = {}
    for row in table.rows:
        look = seen.get(row.name, ("", ()))
        alike.setdefault((row.standing, row.why, said_anyway(row), look), []).append(f"`{row.name}`")
    for (standing, why, harmless, (saw, tests)), names in alike.items():
        what = f"this cloud {why}" if standing == REFUSED else why
        shown = f"{saw} | {named(tests)}" if standing == OBEYED else " | "
        yield f"| {', '.join(names)} | {'told' if standing == PLAIN else standing} | {what} | {harmless} | {shown} |"


def named(tests: Iterable[str]) -> str:
    return ", ".join(f"`{test}`" for test in tests)


def said_anyway(row: Property) -> str:
    if not row.harmless or row.standing == OBEYED:
        return ""
    if row.harmless.startswith("(?i:"):
        return "false" if "false" in row.harmless else "true"
    return ANYWAY.get(row.harmless, row.harmless.replace("|", ", "))


def document() -> str:
    """Return the whole of it."""
    columns = (
        "| {} | | what it does, or why not | taken as what holds anyway | what the guest saw | tests |\n"
        "|---|---|---|---|---|---|\n"
    )
    flavors = columns.format("spec") + "\n".join(rows(EXTRA_SPECS, OBEYED_SPECS))
    images = columns.format("property") + "\n".join(rows(IMAGE_PROPERTIES, OBEYED_PROPERTIES))
    creates = "| field | microversions | what the guest saw | tests |\n|---|---|---|---|\n" + "\n".join(fields())
    return f"{HEAD}{OF_CREATES}\n{creates}\n{OF_FLAVORS}\n{flavors}\n{OF_IMAGES}\n{images}\n"


def test_the_document_says_what_the_code_does() -> None:
    if os.environ.get("FLOE_WRITE_GOLDENS"):
        DOCUMENT.write_text(document())
    assert DOCUMENT.read_text() == document(), "make it anew as its first lines say"


TABLES = [(EXTRA_SPECS, OBEYED_SPECS), (IMAGE_PROPERTIES, OBEYED_PROPERTIES)]


@pytest.mark.parametrize(("table", "seen"), TABLES)
def test_no_row_is_without_a_line(table: Properties, seen: Mapping[str, Look]) -> None:
    text = "\n".join(rows(table, seen))
    assert all(f"`{row.name}`" in text for row in table.rows)


def test_every_field_of_a_create_has_its_tests_and_these_are_there() -> None:
    assert SEEN.keys() == {field.name for field in (*CREATE.fields, *CREATE.siblings)}
    check_looks(SEEN)


@pytest.mark.parametrize(("table", "seen"), TABLES)
def test_everything_that_is_obeyed_has_its_tests_and_these_are_there(
    table: Properties, seen: Mapping[str, Look]
) -> None:
    assert seen.keys() == {row.name for row in table.rows if row.standing == OBEYED}
    check_looks(seen)


def check_looks(seen: Mapping[str, Look]) -> None:
    """Fail where it is not said what a guest saw, where no test shows it, or where there is no such test."""
    texts = {file: (ROOT / "tests" / file).read_text() for file in {test.partition("::")[0] for test in every(seen)}}
    for name, (saw, tests) in seen.items():
        assert saw and tests, name
        for test in tests:
            file, _, function = test.partition("::")
            assert f"def {function}(" in texts[file], f"{name}: there is no test {test}"
        if not saw.startswith(("nothing", "refused", "as ")):
            assert any(test.startswith("e2e/") for test in tests), f"{name}: no real guest looks in {tests}"


def every(seen: Mapping[str, Look]) -> Iterator[str]:
    for _, tests in seen.values():
        yield from tests
