"""The unmodified `openstack` command: what its users type, and what it prints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from floe.testing import EmbeddedCloud

from .conftest import KEY, Openstack

As = Callable[..., Openstack]


async def test_a_server_from_nothing_to_gone(openstack_as: As, image_file: Path, tmp_path: Path) -> None:
    demo = openstack_as("demo")
    image = await demo.json(
        "image", "create", "tiny", "--file", str(image_file), "--disk-format", "raw", "--property", "os_distro=debian"
    )
    assert (image["status"], image["size"]) == ("active", image_file.stat().st_size)
    assert image["properties"]["os_distro"] == "debian"
    key = tmp_path / "key.pub"
    key.write_text(KEY + "\n")
    assert (await demo.json("keypair", "create", "--public-key", str(key), "mine"))["name"] == "mine"
    await demo.json("security", "group", "create", "ssh")
    rule = await demo.json("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "22", "ssh")
    assert (rule["port_range_min"], rule["port_range_max"], rule["direction"]) == (22, 22, "ingress")
    group = await demo.json("server", "group", "create", "--policy", "anti-affinity", "apart")
    data = tmp_path / "user-data"
    data.write_text("#!/bin/sh\necho hello\n")

    server = await demo.json(
        "--os-compute-api-version", "2.96", "server", "create",
        "--flavor", "m1.nano", "--image", "tiny", "--key-name", "mine", "--network", "private",
        "--security-group", "ssh", "--property", "role=web", "--user-data", str(data), "--use-config-drive",
        "--availability-zone", "nova", "--hint", f"group={group['id']}", "--tag", "blue",
        "--description", "The first", "--hostname", "first", "--wait", "one",
    )  # fmt: skip
    assert server["status"] == "ACTIVE"
    assert server["properties"] == {"role": "web"}
    assert server["tags"] == ["blue"]
    assert server["description"] == "The first"
    assert (server["config_drive"], server["key_name"]) == ("True", "mine")
    assert server["OS-EXT-AZ:availability_zone"] == "nova"
    assert server["server_groups"] == [group["id"]]
    assert [each["name"] for each in server["security_groups"]] == ["ssh"]
    (addresses,) = server["addresses"].values()
    assert len(addresses) == 1

    (listed,) = await demo.json(
        "server", "list", "--long", "--name", "one", "--status", "ACTIVE", "--flavor", "m1.nano"
    )
    assert (listed["ID"], listed["Image Name"], listed["Power State"]) == (server["id"], "tiny", 1)
    assert await demo.json("server", "list", "--status", "ERROR") == []
    (created,) = await demo.json("server", "event", "list", "one")
    assert created["Action"] == "create"
    event = await demo.json("server", "event", "show", "one", created["Request ID"])
    assert {each["result"] for each in event["events"]} == {"Success"}
    assert "first login:" in await demo("console", "log", "show", "one")
    await demo("server", "delete", "--wait", "one")
    assert await demo.json("server", "list") == []
    await demo("server", "show", "one", fails="No Server found for one")


async def test_a_server_is_rebuilt(openstack_as: As, image_file: Path) -> None:
    demo = openstack_as("demo")
    for name in ("tiny", "other"):
        await demo.json("image", "create", name, "--file", str(image_file), "--disk-format", "raw")
    made = ("server", "create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "--wait", "one")
    before = await demo.json(*made)
    asked = ("--image", "other", "--password", "open-sesame", "--property", "role=db", "--description", "anew")
    options = ("--name", "two", "--hostname", "two", "--no-key-name", "--no-user-data", "--wait")
    await demo("--os-compute-api-version", "2.96", "server", "rebuild", *asked, *options, "one")
    after = await demo.json("--os-compute-api-version", "2.96", "server", "show", "two")
    assert (after["id"], after["status"], after["description"]) == (before["id"], "ACTIVE", "anew")
    assert after["image"].startswith("other")
    assert (after["properties"], after["addresses"]) == ({"role": "db"}, before["addresses"])
    await demo("server", "delete", "--wait", "two")


async def test_a_server_is_rescued(openstack_as: As, image_file: Path) -> None:
    demo = openstack_as("demo")
    for name in ("tiny", "rescue"):
        await demo.json("image", "create", name, "--file", str(image_file), "--disk-format", "raw")
    await demo("image", "set", "--property", "hw_rescue_bus=scsi", "rescue")
    made = ("server", "create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "--wait", "one")
    await demo.json(*made)

    async def becomes(status: str) -> None:
        async with asyncio.timeout(30):
            while (await demo.json("server", "show", "one"))["status"] != status:
                pass

    await demo("server", "rescue", "--image", "rescue", "--password", "open-sesame", "one")
    await becomes("RESCUE")
    await demo("server", "unrescue", "one")
    await becomes("ACTIVE")


async def test_a_server_is_resized_taken_back_and_kept(
    openstack_as: As, image_file: Path, embedded: EmbeddedCloud
) -> None:
    demo = openstack_as("demo")
    await demo.json("image", "create", "tiny", "--file", str(image_file), "--disk-format", "raw")
    await demo("server", "create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "--wait", "one")
    for end, kept in (("revert", "m1.nano"), ("confirm", "m1.tiny")):
        await demo("server", "resize", "--flavor", "m1.tiny", "--wait", "one")
        assert (await demo.json("server", "show", "one"))["status"] == "VERIFY_RESIZE"
        await demo("server", "resize", end, "one")
        await embedded.settled()
        server = await demo.json("server", "show", "one")
        assert (server["status"], kept in str(server["flavor"])) == ("ACTIVE", True)
    await demo("server", "delete", "--wait", "one")


async def test_several_servers_at_once_changed_and_deleted(openstack_as: As, image_file: Path) -> None:
    demo = openstack_as("demo")
    await demo.json("image", "create", "tiny", "--file", str(image_file), "--disk-format", "raw")
    port = await demo.json("port", "create", "--network", "private", "mine")
    await demo.json("server", "create", "--flavor", "m1.nano", "--image", "tiny", "--no-network",
                    "--min", "2", "--max", "2", "--wait", "many")  # fmt: skip
    await demo.json("server", "create", "--flavor", "m1.nano", "--image", "tiny", "--nic", f"port-id={port['id']}",
                    "--wait", "plugged")  # fmt: skip
    listed = {each["Name"]: each["Networks"] for each in await demo.json("server", "list")}
    address = port["fixed_ips"][0]["ip_address"]
    assert listed == {"many-1": {}, "many-2": {}, "plugged": {"private": [address]}}
    await demo("server", "set", "--name", "other", "--property", "a=b", "--tag", "red", "plugged")
    await demo("server", "unset", "--property", "a", "other")
    shown = await demo.json("server", "show", "other")
    assert (shown["properties"], shown["tags"]) == ({}, ["red"])
    await demo("server", "create", "--flavor", "m1.none", "--image", "tiny", "x", fails="m1.none")
    await demo("server", "delete", "--wait", "many-1", "many-2", "other")
    assert (await demo.json("port", "show", "mine"))["status"] == "DOWN"
    await demo("image", "delete", "tiny")
    assert await demo.json("image", "list") == []


async def test_what_an_administrator_looks_at(openstack_as: As) -> None:
    admin = openstack_as("admin")
    hosts = {each["Hypervisor Hostname"]: each["State"] for each in await admin.json("hypervisor", "list")}
    assert hosts == {"fake-1": "up", "fake-2": "up"}
    services = {each["Binary"] for each in await admin.json("compute", "service", "list")}
    assert "nova-compute" in services
    agents = {each["Host"]: each["Alive"] for each in await admin.json("network", "agent", "list")}
    assert agents == {"fake-1": True, "fake-2": True}
    zones = await admin.json("availability", "zone", "list", "--compute")
    assert {each["Zone Name"]: each["Zone Status"] for each in zones}["nova"] == "available"
    await admin("quota", "set", "--instances", "3", "--cores", "7", "demo")
    shown = {each["Resource"]: each["Limit"] for each in await admin.json("quota", "show", "demo")}
    assert (shown["instances"], shown["cores"]) == (3, 7)
    assert await admin.json("usage", "list") == []
    extensions = {each["Alias"] for each in await admin.json("extension", "list", "--network")}
    assert "security-group" in extensions


async def test_hosts_are_put_into_aggregates_that_zones_and_flavors_ask_for(openstack_as: As, image_file: Path) -> None:
    admin = openstack_as("admin")
    made = await admin.json("aggregate", "create", "--zone", "west", "--property", "ssd=true", "fast")
    assert (made["availability_zone"], made["properties"]["ssd"]) == ("west", "true")
    added = await admin.json("aggregate", "add", "host", "fast", "fake-2")
    assert added["hosts"] == ["fake-2"]
    await admin("aggregate", "set", "--name", "faster", "--property", "gpu=a100", "fast")
    shown = await admin.json("aggregate", "show", "faster")
    assert (shown["hosts"], shown["properties"]) == (["fake-2"], {"ssd": "true", "gpu": "a100"})
    await admin("aggregate", "unset", "--property", "gpu", "faster")
    listed = await admin.json("aggregate", "list", "--long")
    assert [(each["Name"], each["Availability Zone"], each["Properties"]) for each in listed] == [
        ("faster", "west", {"ssd": "true"})
    ]
    assert (await admin.json("hypervisor", "show", "fake-2"))["aggregates"] == ["faster"]
    await admin.json("flavor", "create", "--ram", "64", "--disk", "1", "--property",
                     "aggregate_instance_extra_specs:ssd=true", "quick")  # fmt: skip
    await admin.json("image", "create", "tiny", "--file", str(image_file), "--disk-format", "raw")
    for name, asked in (("zoned", ("m1.nano", "--availability-zone", "west")), ("quick", ("quick",))):
        server = await admin.json("server", "create", "--image", "tiny", "--no-network", "--wait", name,
                                  "--flavor", *asked)  # fmt: skip
        assert (server["OS-EXT-SRV-ATTR:host"], server["OS-EXT-AZ:availability_zone"]) == ("fake-2", "west")
    await admin("aggregate", "set", "--zone", "south", "faster", fails="contain instances")
    await admin("aggregate", "remove", "host", "faster", "fake-2", fails="already has 2 instance")
    await admin("server", "delete", "--wait", "zoned", "quick")
    await admin("aggregate", "delete", "faster", fails="not empty")
    await admin("aggregate", "remove", "host", "faster", "fake-2")
    await admin("aggregate", "delete", "faster")
    assert await admin.json("aggregate", "list") == []


async def test_an_administrator_makes_a_project_and_its_user_works_in_it(openstack_as: As) -> None:
    system = openstack_as("admin", OS_SYSTEM_SCOPE="all")
    project = await system.json("project", "create", "--domain", "default", "--property", "cost=12", "shop")
    assert project["cost"] == "12"
    await system.json("user", "create", "--domain", "default", "--password", "ann-secret", "ann")
    await system("role", "add", "--project", "shop", "--user", "ann", "member")
    given = await system.json("role", "assignment", "list", "--user", "ann", "--names")
    assert [(each["Role"], each["Project"]) for each in given] == [("member", "shop@Default")]
    ann = openstack_as(
        "admin", OS_USERNAME="ann", OS_PASSWORD="ann-secret", OS_PROJECT_NAME="shop", OS_PROJECT_DOMAIN_NAME="Default"
    )
    token = await ann.json("token", "issue")
    assert token["project_id"] == project["id"]
    await ann("project", "create", "mine", fails="403")
    limits = {each["Name"]: each["Value"] for each in await ann.json("limits", "show", "--absolute")}
    assert (limits["instances"], limits["instances_used"]) == (10, 0)


async def test_disks_a_password_and_a_host_of_ones_choice(openstack_as: As, image_file: Path) -> None:
    admin = openstack_as("admin")
    await admin.json("image", "create", "tiny", "--file", str(image_file), "--disk-format", "raw")
    await admin.json("flavor", "create", "--ram", "64", "--disk", "1", "--ephemeral", "2", "--swap", "16", "roomy")
    pinned = await admin.json(
        "--os-compute-api-version", "2.96", "server", "create", "--flavor", "roomy", "--image", "tiny", "--no-network",
        "--host", "fake-2", "--ephemeral", "size=1", "--swap", "16", "--password", "open-sesame",
        "--wait", "pinned",
    )  # fmt: skip
    assert (pinned["OS-EXT-SRV-ATTR:host"], pinned["adminPass"]) == ("fake-2", "open-sesame")
    await admin(
        "server", "create", "--flavor", "roomy", "--image", "tiny", "--no-network", "--host", "nowhere", "x",
        "--os-compute-api-version", "2.96", fails="nowhere",
    )  # fmt: skip
    listed = await admin.json(
        "server", "list", "--all-projects", "--host", "fake-2", "--long", "-c", "Name", "-c", "Host"
    )
    assert {"Name": "pinned", "Host": "fake-2"} in listed
    await admin("server", "delete", "--wait", "pinned")
