"""docs/PARAMETERS.md says what becomes of each thing that a create takes; it is made here, from the code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from floe.core.extra_specs import EXTRA_SPECS, SMALL_PAGES
from floe.core.image_properties import IMAGE_PROPERTIES
from floe.core.properties import OBEYED, PLAIN, REFUSED, Properties, Property

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/PARAMETERS.md"
ANYWAY = {
    SMALL_PAGES: "small, any, 4KiB",
    "0+": "0", "normal": "normal", r"0+|-[0-9]+": "0, or less", r"\s*|\[\s*\]": "nothing, []",
}  # fmt: skip
"""Patterns of harmless values, in words, where these are not plain."""

HEAD = """\
# What a create asks for, and what becomes of it

Made from the code by `FLOE_WRITE_GOLDENS=1 pytest tests/unit/test_parameters.py`; a test compares.
"""
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
    return f"{HEAD}{OF_FLAVORS}\n{flavors}\n{OF_IMAGES}\n{images}\n"


def test_the_document_says_what_the_code_does() -> None:
    if os.environ.get("FLOE_WRITE_GOLDENS"):
        DOCUMENT.write_text(document())
    assert DOCUMENT.read_text() == document(), "make it anew as its first lines say"


@pytest.mark.parametrize("table", [EXTRA_SPECS, IMAGE_PROPERTIES])
def test_no_row_is_without_a_line(table: Properties) -> None:
    text = "\n".join(rows(table))
    assert all(f"`{row.name}`" in text for row in table.rows)
