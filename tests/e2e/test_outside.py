"""Guests reached from outside, on real guests: floating IPs, `floe forward`, and what is taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from real_cloud import USER_DATA, Guest, RealCloud, clean_environment, encoded, eventually

from floe.dataplane.linux.names import router_namespace

pytestmark = pytest.mark.e2e

GATEWAY = "172.24.4.1"


@dataclass(frozen=True, slots=True, repr=False)
class Town:
    """A cloud with two guests, each with a page of its own, on the network that every cloud begins with."""

    cloud: RealCloud
    shop: Guest
    bank: Guest

    def floating(self, guest: Guest | None = None) -> Any:
        """Return a new floating IP."""
        (public,) = self.cloud.user().get("/network/v2.0/networks?router:external=true")["networks"]
        body = {"floating_network_id": public["id"], "port_id": guest and guest.port_id}
        return self.cloud.user().post("/network/v2.0/floatingips", {"floatingip": body})["floatingip"]

    def lead(self, floating: Any, guest: Guest | None) -> None:
        body = {"floatingip": {"port_id": guest and guest.port_id}}
        self.cloud.user().ask("PUT", f"/network/v2.0/floatingips/{floating['id']}", body)

    def give_back(self, floating: Any) -> None:
        self.cloud.user().ask("DELETE", f"/network/v2.0/floatingips/{floating['id']}")

    def page(self, address: str) -> str:
        """Return the page that is served at an address, as it is seen from outside; empty where there is none."""
        look = f"import urllib.request; print(urllib.request.urlopen('http://{address}/index.html', timeout=5).read())"
        return self.cloud.try_floe("exec", "--", sys.executable, "-c", look).stdout

    def answers(self, address: str, guest: Guest) -> None:
        eventually(f"{guest.name} to answer at {address}", lambda: f"{guest.name} ran this" in self.page(address))

    @contextmanager
    def forwarded(self, *words: str) -> Iterator[list[Any]]:
        """Run `floe forward` and give what it says; it ends with status 0."""
        command = self.cloud.floe_words("forward", "--json", *words)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
            try:
                assert process.stdout is not None
                yield json.loads(process.stdout.readline())["forwards"]
            finally:
                process.terminate()
                assert process.wait(30) == 0


@pytest.fixture(scope="module")
def town(new_cloud: Callable[..., AbstractContextManager[RealCloud]], guest_image: Path) -> Iterator[Town]:
    with new_cloud() as cloud:
        cloud.start()
        image = cloud.upload(guest_image.read_bytes(), "qcow2")
        cloud.let_in(22, 80)
        told = {"key_name": "key", "user_data": encoded(USER_DATA)}
        shop, bank = cloud.boot("shop", image, **told), cloud.boot("bank", image, **told)
        cloud.booted(shop)
        cloud.booted(bank)
        yield Town(cloud, shop, bank)


def test_a_guest_is_reached_by_its_floating_ip_and_reaches_the_outside(town: Town):
    floating = town.floating(town.shop)
    town.answers(floating["floating_ip_address"], town.shop)
    shown = town.cloud.server(town.shop.id)["addresses"]["private"]
    assert {(each["addr"], each["OS-EXT-IPS:type"]) for each in shown} == {
        (town.shop.address, "fixed"),
        (floating["floating_ip_address"], "floating"),
    }
    for guest in (town.shop, town.bank):  # by its floating IP, and by the router's address
        assert "1 packets received" in town.cloud.ssh(guest, f"ping -c 1 -W 10 {GATEWAY}")
    town.give_back(floating)


def test_clients_that_floe_exec_runs_find_the_cloud_where_they_find_it_outside(town: Town):
    clouds = f"OS_CLIENT_CONFIG_FILE={town.cloud.state / 'clouds.yaml'}"
    client = os.environ["OPENSTACK_CLIENT"]
    listed = town.cloud.floe("exec", "--", "env", clouds, client, "--os-cloud", "floe", "server", "list", "-f", "json")
    assert {server["Name"] for server in json.loads(listed)} == {"shop", "bank"}


def test_an_address_that_is_moved_ends_what_it_carried_and_serves_another_guest_at_once(town: Town):
    cloud, floating = town.cloud, town.floating(town.shop)
    address = floating["floating_ip_address"]
    town.answers(address, town.shop)
    words = [
        *("ssh", "-F", "none", "-i", str(cloud.key), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
        *("-o", "UserKnownHostsFile=/dev/null", "-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3"),
        *(f"root@{address}", "echo here; sleep 600"),
    ]
    command = cloud.floe_words("exec", "--", *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as session:
        try:
            assert session.stdout is not None
            assert session.stdout.readline() == "here\n"
            town.lead(floating, town.bank)
            town.answers(address, town.bank)
            assert session.wait(60) == 255
        finally:
            session.kill()
    town.lead(floating, None)
    eventually("nobody to answer", lambda: not town.page(address))
    town.give_back(floating)


def test_ports_of_a_server_are_forwarded_to_the_machine_with_and_without_a_floating_ip(town: Town):
    floating = None
    for wanted in (False, True):
        floating = town.floating(town.shop) if wanted else None
        to = town.shop.address if floating is None else floating["floating_ip_address"]
        if floating is not None:
            town.answers(to, town.shop)
        with town.forwarded("shop", "80", "22") as (web, secure):
            assert (web["to"], web["to_port"], secure["to_port"]) == (to, 80, 22)
            page = httpx.get(f"http://127.0.0.1:{web['port']}/index.html", trust_env=False, timeout=30)
            assert page.text == "shop ran this\n"
            words = ["ssh", "-F", "none", "-i", str(town.cloud.key), "-p", str(secure["port"])]
            words += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
            said = subprocess.run(
                [*words, "root@127.0.0.1", "hostname"], capture_output=True, text=True, timeout=60, check=True
            )
            assert said.stdout == "shop\n"
    assert floating is not None
    town.give_back(floating)


def test_a_router_that_somebody_destroys_comes_back_and_a_crash_ends_nothing(town: Town):
    cloud, floating = town.cloud, town.floating(town.shop)
    address = floating["floating_ip_address"]
    town.answers(address, town.shop)
    (router,) = cloud.user().get("/network/v2.0/routers")["routers"]
    space = router_namespace(router["id"])
    cloud.floe("exec", "--", "ip", "netns", "del", space)  # the kernel lets go of what is in it a little later
    eventually("the router to be back", lambda: space in cloud.inside("ip", "netns", "list"), 180)
    town.answers(address, town.shop)
    cloud.kill()
    assert "shop" in town.page(address)
    cloud.start()
    town.answers(address, town.shop)
    assert cloud.floe("audit").strip().endswith("nothing found")
    town.give_back(floating)


def test_of_a_server_that_is_deleted_the_floating_ip_is_free_again(town: Town):
    cloud, floating = town.cloud, town.floating(town.bank)
    town.answers(floating["floating_ip_address"], town.bank)
    cloud.delete(town.bank.id)
    shown = cloud.user().get(f"/network/v2.0/floatingips/{floating['id']}")["floatingip"]
    assert (shown["status"], shown["port_id"], shown["router_id"]) == ("DOWN", None, None)
    town.lead(floating, town.shop)
    town.answers(floating["floating_ip_address"], town.shop)
    cloud.delete(town.shop.id)
    (router,) = cloud.user().get("/network/v2.0/routers")["routers"]
    eventually(
        "the router to leave the host",
        lambda: router_namespace(router["id"]) not in cloud.floe("exec", "--", "ip", "netns", "list"),
    )
