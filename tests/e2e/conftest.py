"""One cloud and two booted guests for all tests of the good days; each started once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from real_cloud import USER_DATA, Pair, RealCloud, differences, encoded
from system_libvirt import FLAGS, SystemLibvirt


@contextmanager
def real_cloud(**settings: Any) -> Iterator[RealCloud]:
    # Sockets of guests lie below: their paths may have 107 characters, more than pytest's own directories leave.
    root = Path(tempfile.mkdtemp(prefix="floe-e2e-", dir="/var/tmp"))
    root.chmod(0o711)
    try:
        cloud = RealCloud(root, **settings)
        try:
            yield cloud
        except BaseException:
            print(f"--- the end of {cloud.log}:", *cloud.log.read_text().splitlines()[-40:], sep="\n")
            raise
        finally:
            cloud.remove()
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def new_cloud() -> Callable[..., AbstractContextManager[RealCloud]]:
    """Make a cloud that is not started yet, and remove it at the end."""
    return real_cloud


@pytest.fixture(scope="session")
def guest_image() -> Path:
    """The tiny guest image, which `scripts/test` builds."""
    assert "GUEST_IMAGE" in os.environ, "run these by scripts/test, which builds the guest image"
    return Path(os.environ["GUEST_IMAGE"])


@pytest.fixture(scope="session")
def ds_identify() -> Path:
    """cloud-init's script that decides at boot which cloud this is, and whether cloud-init runs at all."""
    assert "DS_IDENTIFY" in os.environ, "run these by scripts/test, which fetches cloud-init"
    return Path(os.environ["DS_IDENTIFY"])


@pytest.fixture(scope="session", params=["embedded", "system"])
def pair(request: pytest.FixtureRequest, guest_image: Path) -> Iterator[Pair]:
    """On libvirt within `floe up`, and then on Debian's own libvirtd."""
    with real_cloud() as cloud:
        if request.param == "system":
            daemons = SystemLibvirt(cloud)
            daemons.prepare()
            daemons.start()
            cloud.flags = FLAGS
        cloud.start()
        demo = cloud.user()
        before = cloud.holdings()
        image = cloud.upload(guest_image.read_bytes(), "qcow2")
        key = {"name": "key", "type": "ssh", "public_key": cloud.key.with_suffix(".pub").read_text().strip()}
        demo.post("/compute/v2.1/os-keypairs", {"keypair": key})
        (group,) = (
            g["id"] for g in demo.get("/network/v2.0/security-groups")["security_groups"] if g["name"] == "default"
        )
        cloud.allow(group, "tcp", 22)
        told = {"key_name": "key", "user_data": encoded(USER_DATA), "metadata": {"colour": "green"}}
        files = [{"path": "/etc/motd", "contents": encoded("hello from outside\n")}]
        # Files can be given up to 2.56; the version of the request changes nothing else here.
        alpha = cloud.boot("alpha", image, version="2.56", personality=files, **told)
        beta = cloud.boot("beta", image, config_drive=True, adminPass="Correct-horse-1", **told)
        cloud.booted(alpha)
        cloud.booted(beta)
        yield Pair(cloud, image, alpha, beta, group)
        for server in demo_servers(cloud):
            cloud.delete(server)
        assert differences(before, cloud.holdings()) == []


def demo_servers(cloud: RealCloud) -> list[str]:
    return [server["id"] for server in cloud.user().get("/compute/v2.1/servers")["servers"]]
