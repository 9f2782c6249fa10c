"""Walks through a cloud with the client libraries from before openstacksdk, as their users write them.

Needs the Python of .venv-sdk and a cloud named in OS_CLOUD. Writes a line of JSON for each walk: `test`, `outcome`
(passed or failed) and `why`. What a walk makes it takes away again.
"""

from __future__ import annotations

import io
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any

import openstack.config
from glanceclient import Client as Glance
from keystoneauth1 import session
from neutronclient.common import exceptions as neutron_errors
from neutronclient.v2_0.client import Client as Neutron
from novaclient import client as nova
from novaclient import exceptions as nova_errors

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqeeh3KaUsVNkxrNhlgYZ4qdLBXx5iZNYTLeZ9ZPqzv ann@example\n"
MICROVERSIONS = ("2.1", "2.37", "2.79", "2.96")
SECONDS = 60


def logged_in(cloud: str) -> session.Session:
    """Return a session of a cloud of the file."""
    return openstack.config.OpenStackConfig().get_one(cloud).get_session()


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return what a condition gives once it gives something."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {SECONDS} s for {what}")
        time.sleep(0.1)
    return found


@contextmanager
def network(neutron: Neutron, *, strings: bool = False) -> Iterator[dict[str, Any]]:
    """A network with a subnet, perhaps written as scripts do: with numbers and truth in strings."""
    up, four, dhcp, cidr = ("True", "4", "true", "10.41.0.7/24") if strings else (True, 4, True, "10.41.0.0/24")
    made = neutron.create_network({"network": {"name": "walk", "admin_state_up": up}})["network"]
    try:
        subnet = {"network_id": made["id"], "ip_version": four, "cidr": cidr, "enable_dhcp": dhcp}
        assert neutron.create_subnet({"subnet": subnet})["subnet"]["cidr"] == "10.41.0.0/24"
        yield made
    finally:
        neutron.delete_network(made["id"])


def neutron_walk() -> None:
    """Networks, ports and groups."""
    neutron = Neutron(session=logged_in("floe"))
    with network(neutron, strings=True) as made:
        assert [n["id"] for n in neutron.list_networks(name="walk")["networks"]] == [made["id"]]
        assert neutron.list_networks(name="none")["networks"] == []
        group = neutron.create_security_group({"security_group": {"name": "walk"}})["security_group"]
        rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "TCP", "ethertype": "ipv4"}
        ranged = rule | {"port_range_min": "22", "port_range_max": "22", "remote_ip_prefix": ""}
        shown = neutron.create_security_group_rule({"security_group_rule": ranged})["security_group_rule"]
        assert (shown["port_range_min"], shown["ethertype"], shown["protocol"]) == (22, "IPv4", "tcp"), shown
        expect(neutron_errors.Conflict, neutron.create_security_group_rule, {"security_group_rule": ranged})
        port = neutron.create_port({"port": {"network_id": made["id"], "security_groups": [group["id"]]}})["port"]
        expect(neutron_errors.Conflict, neutron.delete_security_group, group["id"])
        expect(neutron_errors.NetworkInUseClient, neutron.delete_network, made["id"])
        assert neutron.update_port(port["id"], {"port": {"name": "one"}})["port"]["name"] == "one"
        neutron.delete_port(port["id"])
        expect(neutron_errors.PortNotFoundClient, neutron.show_port, port["id"])
        neutron.delete_security_group(group["id"])
        expect(neutron_errors.NotFound, neutron.show_security_group, group["id"])
    expect(neutron_errors.NetworkNotFoundClient, neutron.show_network, made["id"])
    assert {e["alias"] for e in neutron.list_extensions()["extensions"]} >= {"security-group", "port-security"}
    assert neutron.show_quota(neutron.httpclient.get_project_id())["quota"]["network"] != 0


def glance_walk() -> None:
    """An image: made, filled, changed, tagged, read, taken away."""
    glance = Glance("2", session=logged_in("floe"))
    image = glance.images.create(name="walk", disk_format="raw", container_format="bare", os_distro="debian")
    glance.images.upload(image.id, io.BytesIO(b"\0" * 1024))
    shown = glance.images.get(image.id)
    assert (shown.status, shown.size, shown.os_distro) == ("active", 1024, "debian"), shown
    assert b"".join(glance.images.data(image.id)) == b"\0" * 1024
    assert glance.images.update(image.id, name="walked", remove_props=["os_distro"]).name == "walked"
    glance.image_tags.update(image.id, "blue")
    assert [each.id for each in glance.images.list(filters={"name": "walked", "tag": ["blue"]})] == [image.id]
    assert list(glance.images.list(filters={"name": "none"})) == []
    glance.images.delete(image.id)
    assert [each.id for each in glance.images.list() if each.id == image.id] == []


def nova_walk(version: str) -> Callable[[], None]:
    """A server's life at one microversion."""

    def walk() -> None:
        who = logged_in("floe")
        compute, neutron = nova.Client(version, session=who), Neutron(session=who)
        image = next(each for each in Glance("2", session=who).images.list() if each.name == "cirros-fake-disk")
        flavor = compute.flavors.find(name="m1.tiny")
        with ExitStack() as undo:
            compute.keypairs.create("walk", public_key=KEY)
            undo.callback(compute.keypairs.delete, "walk")
            assert compute.keypairs.get("walk").public_key == KEY, compute.keypairs.get("walk").public_key
            made = undo.enter_context(network(neutron))
            server = compute.servers.create(
                "walk", image.id, flavor.id, key_name="walk", meta={"a": "b"}, userdata="#!/bin/sh\n",
                nics=[{"net-id": made["id"]}], security_groups=["default"], config_drive=True,
            )  # fmt: skip
            undo.callback(lambda: wait_for(lambda: gone(compute, server.id), "the server to be gone"))
            undo.callback(compute.servers.delete, server.id)
            read_server(compute, server.id)

    return walk


def read_server(compute: Any, ident: str) -> None:
    """Read, change and list a server in all the ways that every microversion has."""
    server = wait_for(lambda: settled(compute, ident), "the server to be there")
    assert server.status == "ACTIVE", server.to_dict()
    assert [each.id for each in compute.servers.list(search_opts={"name": "walk"})] == [ident]
    assert compute.servers.list(search_opts={"name": "^none$"}) == []
    assert compute.servers.find(name="walk").id == ident
    assert server.networks["walk"][0].startswith("10.41.0.")
    assert [each.net_id for each in server.interface_list()]
    assert [each.name for each in server.list_security_group()] == ["default"]
    assert server.get_console_output(length=5) is not None
    compute.servers.set_meta(ident, {"c": "d"})
    assert compute.servers.get(ident).metadata == {"a": "b", "c": "d"}
    compute.servers.delete_meta(ident, ["a"])
    assert compute.servers.update(ident, name="walked").name == "walked"
    compute.servers.lock(ident)
    compute.servers.unlock(ident)
    actions = compute.instance_action.list(ident)
    assert [each.action for each in actions] == ["unlock", "lock", "create"], actions
    assert {compute.instance_action.get(ident, each.request_id).action for each in actions} == {
        "unlock",
        "lock",
        "create",
    }
    assert compute.limits.get().absolute
    assert compute.availability_zones.list(detailed=False)
    assert compute.quotas.get(compute.client.get_project_id()).cores
    assert compute.usage.get(compute.client.get_project_id(), *month()).total_hours >= 0
    assert compute.server_groups.list() == []


def month() -> tuple[Any, Any]:
    now = datetime.utcnow()  # what novaclient takes
    return now - timedelta(days=30), now + timedelta(days=1)


def administrator(version: str) -> Callable[[], None]:
    """What an administrator reads at one microversion."""

    def walk() -> None:
        compute = nova.Client(version, session=logged_in("floe-admin"))
        assert {each.binary for each in compute.services.list()} >= {"nova-compute"}
        hosts = compute.hypervisors.list(detailed=True)
        assert compute.hypervisors.get(hosts[0].id).hypervisor_hostname == hosts[0].hypervisor_hostname
        assert compute.hypervisors.search(hosts[0].hypervisor_hostname)
        if version < "2.88":
            assert compute.hypervisors.statistics().count == len(hosts)
        assert compute.availability_zones.list(detailed=True)
        assert compute.servers.list(search_opts={"all_tenants": 1}) is not None
        assert compute.aggregates.list() == []
        assert compute.quota_classes.get("default").cores
        flavor = compute.flavors.create("walk", 64, 1, 1, flavorid="walk")
        flavor.set_keys({"hw:cpu_policy": "shared"})
        assert flavor.get_keys() == {"hw:cpu_policy": "shared"}
        flavor.delete()

    return walk


def settled(compute: Any, ident: str) -> Any:
    found = compute.servers.get(ident)
    return found if found.status != "BUILD" else None


def gone(compute: Any, ident: str) -> bool:
    try:
        compute.servers.get(ident)
    except nova_errors.NotFound:
        return True
    return False


def expect(kind: type[Exception], call: Callable[..., Any], *args: Any) -> None:
    """Fail unless a call raises an error of just this kind, which the library tells from the reply's own words."""
    try:
        call(*args)
    except kind:
        return
    raise AssertionError(f"{call} did not raise {kind.__name__}")


def main() -> None:
    """Take every walk."""
    walks = {"neutronclient": neutron_walk, "glanceclient": glance_walk}
    walks |= {f"novaclient {version}": nova_walk(version) for version in MICROVERSIONS}
    walks |= {f"novaclient {version}, administrator": administrator(version) for version in MICROVERSIONS}
    for name, walk in walks.items():
        try:
            walk()
            outcome, why = "passed", ""
        except Exception as error:  # whatever it is, it is what is told
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
            outcome, why = "failed", f"line {lines[-1]}: {type(error).__name__}: {error}"
        print(json.dumps({"test": name, "outcome": outcome, "why": why}), flush=True)


assert os.environ.get("OS_CLIENT_CONFIG_FILE"), "which clouds?"
main()
