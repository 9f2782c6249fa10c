"""Whether a guest makes its root file system as large as its disk (`diskConfig`): what is kept, shown and told. Pure.

Source: the compute API's `OS-DCF:diskConfig`, and its image property `auto_disk_config`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from floe.core.errors import Invalid
from floe.core.properties import YES

AUTO, MANUAL = "AUTO", "MANUAL"
LEFT = "LEFT"
"""What is kept of a MANUAL that user or image asked for. MANUAL itself is kept where neither did: it is what the API
shows then, the guest is told nothing, and its image decides."""

DISABLED = r"(?i:\s*disabled\s*)"
"""Of the image's property: the guest cannot do it, and no user may ask for it."""

LEAVE_ROOT = "#cloud-config\ngrowpart:\n  mode: 'off'\nresize_rootfs: false\n"
"""What cloud-init is told, whose own default is to grow both; a user's own cloud-config overrides it."""


def kept(asked: str | None, properties: Mapping[str, str]) -> str:
    """Return what is kept of what a create asked for (None: nothing) with an image of these properties.

    Raises Invalid for AUTO where the image rules it out.
    """
    if asked is not None:
        return changed(asked, properties)
    said = _said(properties)
    if said is None:
        return MANUAL
    return AUTO if re.fullmatch(YES, said) else LEFT


def changed(asked: str, properties: Mapping[str, str]) -> str:
    """Return what is kept of what somebody asks for. Raises Invalid as `kept` does."""
    if asked == AUTO and re.fullmatch(DISABLED, _said(properties) or ""):
        raise Invalid(
            "OS-DCF:diskConfig cannot be 'AUTO': the image has automatic disk resize disabled (its property "
            "auto_disk_config says so). Use 'MANUAL', or leave it out."
        )
    return AUTO if asked == AUTO else LEFT


def among(changes: Mapping[str, Any], properties: Mapping[str, str]) -> dict[str, str]:
    """Return what is kept of the one among some changes of a server, if it is there. Raises Invalid as `kept` does."""
    return {name: changed(changes[name], properties) for name in ("disk_config",) if name in changes}


def shown(kept: str) -> str:
    """Return what the API shows."""
    return AUTO if kept == AUTO else MANUAL


def _said(properties: Mapping[str, str]) -> str | None:
    return properties.get("hw_auto_disk_config") or properties.get("auto_disk_config") or None
