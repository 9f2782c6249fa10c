from __future__ import annotations

import pytest

from floe.api.app import SURFACES
from floe.api.kit.surface import Microversions, Surface
from floe.core.errors import Busy, Invalid, NotAcceptable

COMPUTE = Microversions("compute", (2, 1), (2, 96), "x-openstack-nova-api-version")


def _asked(**headers: str) -> tuple[int, int]:
    return COMPUTE.asked(lambda name: headers.get(name.replace("-", "_")))


def test_no_header_means_the_lowest_version_and_latest_the_highest() -> None:
    assert _asked() == (2, 1)
    assert _asked(openstack_api_version="compute latest") == (2, 96)


def test_only_the_part_for_this_service_counts() -> None:
    assert _asked(openstack_api_version="volume 3.1, compute 2.60") == (2, 60)
    assert _asked(openstack_api_version="volume 3.1") == (2, 1)


def test_the_older_header_is_understood_where_the_newer_one_is_silent() -> None:
    assert _asked(x_openstack_nova_api_version="2.30") == (2, 30)
    assert _asked(x_openstack_nova_api_version="2.30", openstack_api_version="compute 2.31") == (2, 31)


def test_a_version_out_of_range_is_not_acceptable_and_the_range_is_named() -> None:
    with pytest.raises(NotAcceptable, match=r"2\.1 to 2\.96"):
        _asked(openstack_api_version="compute 2.97")


@pytest.mark.parametrize("text", ["two", "2", "2.x", "2.1.1", "-2.1"])
def test_what_is_no_version_is_invalid(text: str) -> None:
    with pytest.raises(Invalid):
        _asked(openstack_api_version=f"compute {text}")


@pytest.mark.parametrize("surface", SURFACES, ids=[surface.name for surface in SURFACES])
def test_who_is_refused_for_now_is_told_when_to_come_again(surface: Surface) -> None:
    reply = surface.fault(Busy("Too much at once.", seconds=1.2), "req-1")
    assert (reply.status, reply.headers["retry-after"]) == (429, "2")
    assert b"Too much at once." in reply.content()


def test_of_ways_to_ask_for_a_version_few_are_kept_and_no_long_one() -> None:
    versions = Microversions("compute", (2, 1), (2, 96), "x-openstack-nova-api-version")
    for number in range(1000):
        assert versions.asked({"openstack-api-version": f"volume 3.{number}, compute 2.5"}.get) == (2, 5)
        assert versions.asked({"openstack-api-version": f"compute 2.6{' ' * number * 100}"}.get) == (2, 6)
        assert versions.asked({"x-openstack-nova-api-version": f"2.7{' ' * number * 100}"}.get) == (2, 7)
    kept = versions._kept.cache_info()  # type: ignore[attr-defined]
    assert 0 < kept.currsize == kept.maxsize <= 256
