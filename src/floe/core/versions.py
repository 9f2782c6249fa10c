"""Microversions: pairs of numbers that compare as one expects."""

from __future__ import annotations

import re

Version = tuple[int, int]

_TEXT = re.compile(r"([1-9]\d{0,3})\.(\d{1,4})")


def parse_version(text: str) -> Version | None:
    """Read `2.96`; None if it is none."""
    found = _TEXT.fullmatch(text.strip())
    return (int(found[1]), int(found[2])) if found else None


def version_text(version: Version) -> str:
    """Write it as `2.96`."""
    return f"{version[0]}.{version[1]}"
