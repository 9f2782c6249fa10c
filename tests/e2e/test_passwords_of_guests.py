"""A real guest posts a password with curl, and its user reads and clears it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from real_cloud import Guest, RealCloud, eventually

pytestmark = pytest.mark.e2e

URL = "http://169.254.169.254/openstack/latest/password"


@pytest.fixture(scope="module")
def posting(
    new_cloud: Callable[..., AbstractContextManager[RealCloud]], guest_image: Path
) -> Iterator[tuple[RealCloud, Guest]]:
    with new_cloud(key_type="rsa") as cloud:
        cloud.start()
        cloud.let_in(22)
        image = cloud.upload(guest_image.read_bytes(), "qcow2")
        guest = cloud.boot("posting", image, key_name="key")
        cloud.booted(guest)
        yield cloud, guest


def test_one_logs_in_by_its_rsa_key_and_by_no_other(posting: tuple[RealCloud, Guest]) -> None:
    cloud, guest = posting
    assert cloud.lets_in_by_its_key_alone(guest)


def test_a_guest_posts_a_password_that_its_user_reads_and_clears(posting: tuple[RealCloud, Guest]) -> None:
    cloud, guest = posting
    path = f"/compute/v2.1/servers/{guest.id}/os-server-password"

    def post(*words: str) -> str:
        return cloud.ssh(guest, f"curl -s -o /dev/null -w '%{{http_code}}' -X POST {' '.join(words)} {URL}").strip()

    def shown(password: str) -> None:
        eventually(password, lambda: cloud.user().get(path)["password"] == password)

    shown("")
    large = "--data-binary @/tmp/large"
    cloud.ssh(guest, "dd if=/dev/zero of=/tmp/large bs=1024 count=300 2>/dev/null")
    assert post(large) == post(large, "-H 'Expect: 100-continue'") == "400"
    assert post("-d one") == "200"
    cloud.kill()
    cloud.start()
    shown("one")
    assert cloud.ssh(guest, f"curl -s {URL}") == "one"
    assert post("-d two") == "409"
    assert cloud.user().ask("DELETE", path).status_code == 204
    shown("")
    assert post("-d two", "-H 'Expect: 100-continue'") == "200"
    shown("two")
