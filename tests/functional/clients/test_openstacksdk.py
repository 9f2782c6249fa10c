"""openstacksdk, unmodified: every system of the flow, as its users write it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openstack.exceptions import BadRequestException

from .conftest import KEY, encoded, in_thread

As = Callable[..., Any]
# The library warns of its own plans for its own options.
pytestmark = pytest.mark.filterwarnings(
    "ignore::PendingDeprecationWarning", "ignore::openstack.warnings.OpenStackDeprecationWarning"
)


def _image(cloud: Any, path: Path) -> Any:
    return cloud.image.create_image(
        "tiny", data=path.read_bytes(), disk_format="raw", container_format="bare", wait=True
    )


async def test_a_server_with_everything_one_can_ask_for(sdk_as: As, image_file: Path) -> None:
    def run() -> None:
        with sdk_as("demo") as demo:
            image = _image(demo, image_file)
            flavor = demo.compute.find_flavor("m1.nano")
            demo.compute.create_keypair(name="mine", public_key=KEY)
            network = demo.network.create_network(name="blue")
            subnet = demo.network.create_subnet(
                network_id=network.id, ip_version=4, cidr="10.20.0.0/24", dns_nameservers=["10.20.0.2"]
            )
            group = demo.network.create_security_group(name="ssh")
            demo.network.create_security_group_rule(
                security_group_id=group.id, direction="ingress", protocol="tcp", port_range_min=22, port_range_max=22
            )
            port = demo.network.create_port(
                network_id=network.id, fixed_ips=[{"subnet_id": subnet.id, "ip_address": "10.20.0.9"}],
                security_group_ids=[group.id],
            )  # fmt: skip
            apart = demo.compute.create_server_group(name="apart", policy="anti-affinity")
            server = demo.compute.create_server(
                name="one", flavor_id=flavor.id, image_id=image.id, key_name="mine", networks=[{"port": port.id}],
                user_data=encoded("#!/bin/sh\n"), config_drive=True, metadata={"role": "web"}, tags=["blue"],
                description="The first", availability_zone="nova", scheduler_hints={"group": apart.id},
                hostname="first", admin_password="open sesame",
            )  # fmt: skip
            assert server.admin_password == "open sesame"
            server = demo.compute.wait_for_server(server, wait=30, interval=0.05)
            assert (server.status, server.vm_state, server.power_state) == ("ACTIVE", "active", 1)
            assert server.addresses["blue"][0]["addr"] == "10.20.0.9"
            assert server.flavor.original_name == "m1.nano"
            assert [each.id for each in demo.compute.servers(tags="blue", status="ACTIVE")] == [server.id]
            assert demo.compute.get_server_group(apart.id).member_ids == [server.id]
            assert "first login:" in demo.compute.get_server_console_output(server)["output"]
            assert [each.port_id for each in demo.compute.server_interfaces(server)] == [port.id]
            bound = demo.network.get_port(port.id)
            assert (bound.device_id, bound.status) == (server.id, "ACTIVE")
            (action,) = demo.compute.server_actions(server)
            events = demo.compute.get_server_action(action.request_id, server).events
            assert events
            assert all(event["result"] == "Success" for event in events)
            demo.compute.delete_server(server)
            demo.compute.wait_for_delete(server, wait=30, interval=0.05)
            assert demo.network.get_port(port.id).device_id in ("", None)
            demo.network.delete_port(port)
            demo.network.delete_network(network)
            demo.network.delete_security_group(group)
            demo.compute.delete_server_group(apart)
            demo.image.delete_image(image)

    await in_thread(run)


async def test_a_server_is_renamed_tagged_described_and_locked(sdk_as: As, image_file: Path) -> None:
    def run() -> None:
        with sdk_as("demo") as demo:
            image = _image(demo, image_file)
            flavor = demo.compute.find_flavor("m1.nano")
            server = demo.compute.create_server(name="a", flavor_id=flavor.id, image_id=image.id, networks="none")
            server = demo.compute.wait_for_server(server, wait=30, interval=0.05)
            demo.compute.update_server(server, name="b", description="d")
            demo.compute.set_server_metadata(server, k="v", x="y")
            demo.compute.delete_server_metadata(server, ["x"])
            demo.compute.add_tag_to_server(server, "red")
            demo.compute.lock_server(server, locked_reason="mine")
            shown = demo.compute.get_server(server.id)
            assert (shown.name, shown.description, shown.metadata, shown.tags) == ("b", "d", {"k": "v"}, ["red"])
            assert (shown.is_locked, shown.locked_reason) == (True, "mine")
            demo.compute.unlock_server(server)
            demo.compute.delete_server(server)
            demo.compute.wait_for_delete(server, wait=30, interval=0.05)

    await in_thread(run)


async def test_a_create_that_cannot_be_is_refused_with_the_reason(sdk_as: As, image_file: Path) -> None:
    import openstack.exceptions as errors

    def run() -> None:
        with sdk_as("demo") as demo:
            image = _image(demo, image_file)
            flavor = demo.compute.find_flavor("m1.nano")
            good = {"name": "x", "flavor_id": flavor.id, "image_id": image.id, "networks": "none"}
            cases: list[tuple[dict[str, Any], type[Exception], str]] = [
                ({"flavor_id": "999"}, errors.BadRequestException, "999"),
                ({"image_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12}, errors.BadRequestException, "0000-4000"),
                ({"key_name": "none"}, errors.BadRequestException, "none"),
                ({"user_data": "%%%"}, errors.BadRequestException, "user_data"),
                ({"min_count": 99, "max_count": 99}, errors.ForbiddenException, "instances"),
                ({"name": "x" * 256}, errors.BadRequestException, "name"),
            ]
            for change, kind, word in cases:
                with pytest.raises(kind) as caught:
                    demo.compute.create_server(**{**good, **change})
                assert word in str(caught.value)
                assert caught.value.request_id.startswith("req-")  # type: ignore[attr-defined]
            assert list(demo.compute.servers()) == []

    await in_thread(run)


async def test_an_administrator_sees_hosts_services_zones_usage_and_providers(sdk_as: As, image_file: Path) -> None:
    def run() -> None:
        with sdk_as("demo") as demo:
            image = _image(demo, image_file)
            flavor = demo.compute.find_flavor("m1.nano")
            server = demo.compute.create_server(name="a", flavor_id=flavor.id, image_id=image.id, networks="none")
            demo.compute.wait_for_server(server, wait=30, interval=0.05)
            limits = demo.compute.get_limits().absolute
            assert (limits.instances_used, limits.total_cores_used) == (1, flavor.vcpus)
        with sdk_as("admin") as admin:
            (found,) = admin.compute.servers(all_projects=True)
            host = found.compute_host
            assert {each.name for each in admin.compute.hypervisors()} == {"fake-1", "fake-2"}
            assert {each.state for each in admin.compute.services(binary="nova-compute")} == {"up"}
            assert {each.name for each in admin.compute.availability_zones(details=True)} >= {"nova"}
            assert {each.is_alive for each in admin.network.agents()} == {True}
            (provider,) = admin.placement.resource_providers(name=host)
            inventory = {
                each.resource_class: each.total for each in admin.placement.resource_provider_inventories(provider)
            }
            assert set(inventory) == {"VCPU", "MEMORY_MB", "DISK_GB"}
            project = admin.identity.find_project("demo")
            admin.compute.update_quota_set(project, instances=1)
            assert admin.compute.get_quota_set(project).instances == 1
            assert admin.compute.get_usage(project).total_hours is not None
            flavor = admin.compute.create_flavor(name="big", vcpus=2, ram=64, disk=1)
            admin.compute.create_flavor_extra_specs(flavor, {"hw:cpu_policy": "shared"})
            assert admin.compute.find_flavor("big", get_extra_specs=True).extra_specs == {"hw:cpu_policy": "shared"}
            admin.compute.delete_flavor(flavor)
            admin.compute.delete_server(found)
            admin.compute.wait_for_delete(found, wait=30, interval=0.05)

    await in_thread(run)


async def test_an_administrator_puts_hosts_into_aggregates(sdk_as: As) -> None:
    def run() -> None:
        with sdk_as("admin") as admin:
            made = admin.create_aggregate("fast", availability_zone="west")
            assert (made.name, made.availability_zone, made.hosts) == ("fast", "west", None)
            assert admin.add_host_to_aggregate("fast", "fake-1").hosts == ["fake-1"]
            admin.compute.set_aggregate_metadata(made, {"ssd": "true"})
            found = admin.compute.find_aggregate("fast")
            assert (found.uuid, found.metadata) == (made.uuid, {"ssd": "true", "availability_zone": "west"})
            assert {each.name for each in admin.compute.availability_zones()} == {"nova", "west"}
            (provider,) = admin.placement.resource_providers(member_of=made.uuid)
            assert provider.name == "fake-1"
            assert admin.placement.get_resource_provider_aggregates(provider).aggregates == [made.uuid]
            with pytest.raises(BadRequestException, match="not empty"):
                admin.compute.delete_aggregate(made)
            admin.remove_host_from_aggregate("fast", "fake-1")
            assert admin.update_aggregate("fast", name="faster").name == "faster"
            assert admin.delete_aggregate("faster")
            assert list(admin.compute.aggregates()) == []

    await in_thread(run)


async def test_lists_longer_than_a_page_are_followed(sdk_as: As) -> None:
    def run() -> None:
        with sdk_as("admin") as admin:
            project = admin.current_project_id
            admin.network.put(f"/quotas/{project}", json={"quota": {"network": -1}})
            before = {each.id for each in admin.network.networks()}
            for _ in range(6):
                many = admin.network.post("/networks", json={"networks": [{"name": "many"}] * 200})
                assert many.status_code == 201
            found = [each.id for each in admin.network.networks()]
            assert len(found) == len(set(found)) == len(before) + 1200
            names = [f"p{number}" for number in range(7)]
            for name in names:
                admin.identity.create_project(name=name)
            assert set(names) <= {each.name for each in admin.identity.projects(limit=2)}

    await in_thread(run)


async def test_tags_and_address_groups(sdk_as: As) -> None:
    def run() -> None:
        with sdk_as("demo") as demo:
            network = demo.network.create_network(name="blue")
            demo.network.set_tags(network, ["red", "blue"])
            demo.network.add_tag(network, "green")
            demo.network.remove_tag(network, "red")
            assert demo.network.get_network(network.id).tags == ["blue", "green"]
            assert [each.id for each in demo.network.networks(tags="blue,green")] == [network.id]
            assert network.id not in [each.id for each in demo.network.networks(not_any_tags="blue")]
            offices = demo.network.create_address_group(name="offices", addresses=["192.0.2.0/24"])
            demo.network.add_addresses_to_address_group(offices, ["198.51.100.7/32"])
            demo.network.update_address_group(offices, description="all of them")
            found = demo.network.find_address_group("offices")
            assert (found.addresses, found.description) == (["192.0.2.0/24", "198.51.100.7/32"], "all of them")
            group = demo.network.create_security_group(name="ssh")
            rule = demo.network.create_security_group_rule(
                security_group_id=group.id, direction="ingress", remote_address_group_id=offices.id
            )
            assert rule.remote_address_group_id == offices.id
            demo.network.delete_security_group(group)
            demo.network.remove_addresses_from_address_group(offices, ["192.0.2.0/24"])
            demo.network.delete_address_group(offices)
            assert list(demo.network.address_groups()) == []

    await in_thread(run)


async def test_a_network_that_makes_itself_and_addresses_that_come_and_go(sdk_as: As, image_file: Path) -> None:
    def run() -> None:
        with sdk_as("demo") as demo:
            project = demo.current_project_id
            assert demo.network.validate_auto_allocated_topology(project).id == "dry-run=pass"
            topology = demo.network.get_auto_allocated_topology()
            assert demo.network.get_auto_allocated_topology(project).id == topology.id
            assert demo.network.get_network(topology.id).name == "auto_allocated_network"
            image, flavor = _image(demo, image_file), demo.compute.find_flavor("m1.nano")
            server = demo.compute.create_server(
                name="one", flavor_id=flavor.id, image_id=image.id, networks=[{"uuid": topology.id}]
            )
            server = demo.compute.wait_for_server(server, wait=30, interval=0.05)
            (fixed,) = [each["addr"] for each in server.addresses["auto_allocated_network"]]
            outside = demo.network.find_network("public")
            floating = demo.network.create_ip(floating_network_id=outside.id)
            demo.compute.default_microversion = "2.43"
            demo.compute.add_floating_ip_to_server(server, floating.floating_ip_address)
            demo.compute.add_fixed_ip_to_server(server, topology.id)
            shown = demo.compute.get_server(server.id).addresses["auto_allocated_network"]
            assert {each["addr"] for each in shown if each["OS-EXT-IPS:type"] == "floating"} == {
                floating.floating_ip_address
            }
            (second,) = {each["addr"] for each in shown} - {fixed, floating.floating_ip_address}
            demo.compute.remove_fixed_ip_from_server(server, second)
            demo.compute.remove_floating_ip_from_server(server, floating.floating_ip_address)
            assert [
                each["addr"] for each in demo.compute.get_server(server.id).addresses["auto_allocated_network"]
            ] == [fixed]
            demo.compute.delete_server(server)
            demo.compute.wait_for_delete(server, interval=0.05)
            assert demo.network.delete_auto_allocated_topology(project) is None
            assert demo.network.find_network("auto_allocated_network") is None

    await in_thread(run)
