"""docs/PARAMETERS.md says what becomes of each thing that a create takes; it is made here, from the code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from floe.api.compute.server_bodies import CREATE
from floe.api.compute.versions import HIGHEST, LOWEST
from floe.core.extra_specs import EXTRA_SPECS, SMALL_PAGES
from floe.core.image_properties import IMAGE_PROPERTIES
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
refuses of each field is in `tests/functional/compute/test_server_create.py`.
"""
GUESTS, DOCUMENTS, WITHIN = "e2e/test_guests.py", "e2e/test_documents.py", "e2e/test_inside_guests.py"
SDK, CLIENT = "functional/clients/test_openstacksdk.py", "functional/clients/test_openstack_client.py"
CREATES, HARDWARE = "functional/compute/test_server_create.py", "e2e/test_guest_hardware.py"
REFUSES = f"{CREATES}::test_a_create_that_cannot_be_is_refused_with_field_and_value"
EVERYTHING = f"{SDK}::test_a_server_with_everything_one_can_ask_for"
SHOWN = f"{CREATES}::test_what_is_asked_for_is_shown_as_it_was_asked_for"
TOGETHER = f"{CREATES}::test_several_are_made_together_with_numbered_names"
METADATA = f"{GUESTS}::test_metadata_answers_about_the_guest_that_asks"
SHAPED = f"{HARDWARE}::test_a_guest_has_the_cpus_disks_and_devices_that_were_asked_for"
DRIVE = f"{GUESTS}::test_the_config_drive_says_what_the_metadata_service_says"
TRUTH = f"{DOCUMENTS}::test_drive_and_service_tell_a_real_guest_the_same_and_the_truth"
CHOSEN = f"{CLIENT}::test_disks_a_password_and_a_host_of_ones_choice"
SEEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "name": ("its name in the metadata, and the hostname that follows from it", (METADATA, TOGETHER)),
    "flavorRef": ("vCPUs in their sockets and cores, disks with their sizes, devices", (SHAPED, TRUTH)),
    "imageRef": (
        "that image booted, with its kernel and ramdisk where it names them",
        (f"{GUESTS}::test_a_guest_boots_the_kernel_and_ramdisk_of_its_image", SHAPED),
    ),
    "min_count": ("", (f"{CREATES}::test_between_min_and_max_as_many_are_made_as_the_quota_allows", TOGETHER)),
    "max_count": ("", (f"{CREATES}::test_between_min_and_max_as_many_are_made_as_the_quota_allows", TOGETHER)),
    "return_reservation_id": ("", (TOGETHER,)),
    "key_name": ("the key in its metadata; it lets that key in by SSH", (METADATA, TRUTH)),
    "security_groups": (
        "what they let in reaches it, and nothing else",
        (f"{GUESTS}::test_a_security_group_blocks_and_then_admits", TRUTH),
    ),
    "availability_zone": (
        "",
        (
            "functional/conductor/test_aggregates.py::test_a_server_goes_to_the_zone_that_an_aggregate_makes",
            "functional/conductor/test_aggregates.py::test_a_server_of_no_zone_is_told_the_one_it_got_into",
        ),
    ),
    "user_data": (
        "the script ran once; parts of MIME, gzipped; the same bytes by drive and service",
        (
            f"{GUESTS}::test_user_data_ran_once_in_each",
            f"{WITHIN}::test_parts_of_user_data_run_in_order_and_what_is_not_run_is_said",
            TRUTH,
        ),
    ),
    "metadata": ("`meta` in the metadata", (METADATA,)),
    "personality": ("the file's path and content", (f"{GUESTS}::test_files_given_at_the_create_reach_the_guest",)),
    "adminPass": ("one logs in with it", (f"{GUESTS}::test_one_can_log_in_with_the_admin_password",)),
    "block_device_mapping": ("refused: it maps volumes", (REFUSES,)),
    "block_device_mapping_v2": (
        "",
        (CHOSEN, f"{CREATES}::test_an_empty_image_is_none_and_the_block_device_says_what_to_boot"),
    ),
    "accessIPv4": ("", (SHOWN, REFUSES)),
    "accessIPv6": ("", (SHOWN, REFUSES)),
    "networks": (
        "its NICs in the order asked, also after restarts",
        (
            f"{WITHIN}::test_nics_are_in_the_order_asked_for_also_after_restarts",
            f"{GUESTS}::test_two_guests_on_one_network_reach_each_other",
        ),
    ),
    "config_drive": ("a CD labelled config-2 that says what the service says", (DRIVE, TRUTH)),
    "OS-DCF:diskConfig": (
        "nothing: it is kept, shown and filtered by",
        (SHOWN, REFUSES),
    ),
    "description": ("", (SHOWN, EVERYTHING)),
    "tags": ("", (SHOWN, EVERYTHING, f"{CREATES}::test_a_create_makes_row_and_action_and_nudges_a_conductor")),
    "trusted_image_certificates": ("refused: signatures are not checked", (REFUSES,)),
    "host": ("", (CHOSEN, REFUSES)),
    "hypervisor_hostname": ("", (SHOWN, "functional/compute/test_bodies.py::test_what_nova_refuses_is_refused")),
    "hostname": (
        "its name in DNS, by itself and with the domain",
        (f"{WITHIN}::test_both_names_of_a_server_resolve_and_follow_changes",),
    ),
    "os:scheduler_hints": (
        "",
        (
            "unit/scheduler/test_hints.py::test_a_query_keeps_the_hosts_of_which_it_holds",
            "unit/scheduler/test_hints.py::test_near_an_address_are_the_hosts_of_its_network",
            f"{CREATES}::test_hints_are_kept_and_those_that_do_nothing_are_told",
            f"{CREATES}::test_group_members_are_limited",
        ),
    ),
    "OS-SCH-HNT:scheduler_hints": ("", (f"{CREATES}::test_the_old_name_of_hints_is_the_same",)),
}
"""Of each field: what the guest saw (nothing where it is none of its business), and which tests show it."""

OF_FLAVORS = """
## Extra specs of flavors

*Obeyed* says how. *Refused*: a create with such a flavor is a 400 that names the spec, but for the value that asks for
what holds anyway. A spec that is not here is refused in the namespaces that are (`hw:`, `hw_rng:`, `hw_video:`,
`quota:`, `os:`, `resources:`, `trait:`, `capabilities:`, `accel:`, `pci_passthrough:`, `vmware:`), and the operator's
own in others. What contradicts itself, or what the image asks for, is refused too.
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
        yield f"| `{name}` | {versions} | {saw or '-'} | {', '.join(f'`{test}`' for test in tests)} |"


def rows(table: Properties) -> Iterator[str]:
    """Yield a line for each name, families of names as one; those that are alike share a line."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for row in table.rows:
        alike.setdefault((row.standing, row.why, said_anyway(row)), []).append(f"`{row.name}`")
    for (standing, why, harmless), names in alike.items():
        if standing == REFUSED:
            yield f"| {', '.join(names)} | refused | this cloud {why} | {harmless} |"
        else:
            yield f"| {', '.join(names)} | {'told' if standing == PLAIN else standing} | {why} | {harmless} |"


def said_anyway(row: Property) -> str:
    if not row.harmless or row.standing == OBEYED:
        return ""
    if row.harmless.startswith("(?i:"):
        return "false" if "false" in row.harmless else "true"
    return ANYWAY.get(row.harmless, row.harmless.replace("|", ", "))


def document() -> str:
    """Return the whole of it."""
    columns = "| {} | | what it does, or why not | taken as what holds anyway |\n|---|---|---|---|\n"
    flavors = columns.format("spec") + "\n".join(rows(EXTRA_SPECS))
    images = columns.format("property") + "\n".join(rows(IMAGE_PROPERTIES))
    creates = "| field | microversions | what the guest saw | tests |\n|---|---|---|---|\n" + "\n".join(fields())
    return f"{HEAD}{OF_CREATES}\n{creates}\n{OF_FLAVORS}\n{flavors}\n{OF_IMAGES}\n{images}\n"


def test_the_document_says_what_the_code_does() -> None:
    if os.environ.get("FLOE_WRITE_GOLDENS"):
        DOCUMENT.write_text(document())
    assert DOCUMENT.read_text() == document(), "make it anew as its first lines say"


@pytest.mark.parametrize("table", [EXTRA_SPECS, IMAGE_PROPERTIES])
def test_no_row_is_without_a_line(table: Properties) -> None:
    text = "\n".join(rows(table))
    assert all(f"`{row.name}`" in text for row in table.rows)


def test_every_field_of_a_create_has_its_tests_and_these_are_there() -> None:
    assert SEEN.keys() == {field.name for field in (*CREATE.fields, *CREATE.siblings)}
    for name, (_, tests) in SEEN.items():
        texts = {test: (ROOT / "tests" / test.partition("::")[0]).read_text() for test in tests}
        for test, text in texts.items():
            assert f"def {test.partition('::')[2]}(" in text, f"{name}: there is no test {test}"
