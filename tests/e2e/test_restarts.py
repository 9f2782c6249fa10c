"""`floe up` stops, dies and starts again; guests go on running."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from real_cloud import Pair, RealCloud, clean_environment, differences

pytestmark = pytest.mark.e2e


def uptime(pair: Pair) -> float:
    return float(pair.cloud.ssh(pair.alpha, "cat /proc/uptime").split()[0])


@pytest.mark.parametrize("end", [RealCloud.stop, RealCloud.kill], ids=["stopped", "killed"])
def test_guests_are_unharmed_by_an_end_and_a_start_of_floe(pair: Pair, end: Callable[[RealCloud], object]):
    cloud = pair.cloud
    pids, ran = cloud.qemu(pair.alpha.id), uptime(pair)
    before = cloud.holdings()
    assert len(pids) == 1

    end(cloud)
    assert uptime(pair) > ran, "the guest answers while nothing of Floe runs"
    cloud.start()

    assert cloud.qemu(pair.alpha.id) == pids
    assert uptime(pair) > ran
    assert cloud.server(pair.alpha.id)["status"] == "ACTIVE"
    assert cloud.server(pair.alpha.id)["OS-EXT-STS:power_state"] == 1
    assert "login:" in cloud.console(pair.alpha.id)
    told = cloud.ssh(pair.alpha, "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json")
    assert json.loads(told)["uuid"] == pair.alpha.id
    assert differences(before, cloud.holdings()) == []


def test_floe_up_stops_in_order_with_guests_running(pair: Pair):
    assert pair.cloud.stop() == 0
    pair.cloud.start()


def test_a_second_floe_up_on_the_same_state_is_refused(pair: Pair):
    done = subprocess.run(
        pair.cloud.command(), capture_output=True, text=True, timeout=60, env=clean_environment(), check=False
    )
    assert done.returncode == 1
    assert f"already uses the state directory {pair.cloud.state}" in done.stderr
    assert pair.cloud.server(pair.alpha.id)["status"] == "ACTIVE"


def test_a_guest_found_again_can_be_deleted_and_leaves_nothing(pair: Pair):
    """The restarts before this are part of the test: `floe up` knows the guest only from what it found."""
    cloud = pair.cloud
    before = cloud.holdings()
    gamma = cloud.boot("gamma", pair.image)
    cloud.kill()
    cloud.start()
    held = cloud.holdings()
    assert len(held["guests"]) == len(before["guests"]) + 1
    cloud.delete(gamma.id)
    assert differences(before, cloud.holdings()) == []
