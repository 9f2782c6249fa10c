"""A domain that is ending: libvirt says that it is not active while it still has a file of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libvirt
import pytest

from floe.hypervisors.libvirt import domains


class Ending:
    """A domain whose end is under way: whoever destroys it waits for that, and hears that it is not running."""

    def __init__(self) -> None:
        self.file = True
        self.defined = True

    def name(self) -> str:
        return "instance-00000001"

    def isActive(self) -> bool:  # noqa: N802
        return False

    def destroy(self) -> int:
        self.file = False
        raise Refused

    def undefineFlags(self, flags: int) -> int:  # noqa: N802
        assert not self.file, "it was forgotten while libvirt still had a file of it"
        self.defined = False
        return 0

    def hasManagedSaveImage(self) -> bool:  # noqa: N802
        return False


class Refused(libvirt.libvirtError):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__("Requested operation is not valid: domain is not running")

    def get_error_code(self) -> int:
        return int(libvirt.VIR_ERR_OPERATION_INVALID)


class Connection:
    def __init__(self, domain: Ending) -> None:
        self._domain = domain

    def lookupByUUIDString(self, uuid: str) -> Ending:  # noqa: N802
        return self._domain


@pytest.mark.parametrize("deed", [domains.end, domains.remove])
def test_an_end_that_is_under_way_is_waited_for(deed: Callable[[Any, str], object]):
    domain = Ending()
    deed(Connection(domain), "u")
    assert not domain.file
    assert domain.defined is (deed is domains.end)
