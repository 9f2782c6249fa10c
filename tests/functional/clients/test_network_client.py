"""The `openstack` command on networks: what its options send for each noun is taken, and what it shows is right."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Openstack

As = Callable[..., Openstack]


async def test_networks_and_subnets(openstack_as: As) -> None:
    demo, admin = openstack_as("demo"), openstack_as("admin")
    await demo("network", "create", "--description", "of the shop", "--mtu", "1400", "--disable-port-security", "front")
    await demo("network", "set", "--name", "back", "--disable", "--enable-port-security", "front")
    shown = await demo.json("network", "show", "back")
    assert (shown["admin_state_up"], shown["port_security_enabled"], shown["revision_number"]) == (False, True, 1)
    subnet = await demo.json(
        "subnet", "create", "--network", "back", "--subnet-range", "10.7.0.9/24", "--gateway", "192.0.2.1", "--dhcp",
        "--allocation-pool", "start=10.7.0.50,end=10.7.0.60", "--dns-nameserver", "9.9.9.9",
        "--host-route", "destination=10.8.0.0/16,gateway=10.7.0.8", "s",
    )  # fmt: skip
    assert (subnet["cidr"], subnet["gateway_ip"]) == ("10.7.0.0/24", "192.0.2.1")
    await demo("subnet", "set", "--gateway", "none", "--no-dhcp", "--no-dns-nameservers", "s")
    await demo("subnet", "unset", "--host-route", "destination=10.8.0.0/16,gateway=10.7.0.8", "s")
    (listed,) = await demo.json("subnet", "list", "--long", "--network", "back", "--ip-version", "4", "--no-dhcp")
    assert (listed["Gateway"], listed["Name Servers"], listed["Host Routes"]) == (None, [], [])
    await demo("network", "delete", "back")
    vxlan = ("--provider-network-type", "vxlan", "--provider-segment", "77")
    chosen = await admin.json("network", "create", *vxlan, "--share", "v")
    assert (chosen["provider:segmentation_id"], chosen["shared"]) == (77, True)
    await admin("network", "create", *vxlan, "w", fails="77 is in use")


async def test_ports(openstack_as: As) -> None:
    demo = openstack_as("demo")
    port = await demo.json(
        "port", "create", "--network", "private", "--fixed-ip", "ip-address=10.233.0.77",
        "--mac-address", "FA-16-3E-00-00-0A", "--allowed-address", "ip-address=0.0.0.0/0", "--device", "mine", "p",
    )  # fmt: skip
    assert port["allowed_address_pairs"] == [{"ip_address": "0.0.0.0/0", "mac_address": "fa:16:3e:00:00:0a"}]
    await demo("port", "set", "--name", "q", "--disable", "--no-fixed-ip", "--fixed-ip", "ip-address=10.233.0.78", "p")
    (listed,) = await demo.json(
        "port", "list", "--fixed-ip", "ip-substring=.0.78", "--mac-address", "fa:16:3e:00:00:0A"
    )
    assert listed["Name"] == "q"
    await demo("port", "unset", "--allowed-address", "ip-address=0.0.0.0/0,mac-address=fa:16:3e:00:00:0a", "q")
    await demo("port", "set", "--no-security-group", "--disable-port-security", "q")
    await demo("port", "delete", "q")


async def test_security_groups_and_rules(openstack_as: As) -> None:
    demo = openstack_as("demo")
    await demo("security", "group", "create", "--description", "of the shop", "--stateful", "web")
    await demo(
        "security", "group", "create", "--stateless", "loose", fails="stateless security groups are not supported"
    )
    add = ("security", "group", "rule", "create")
    rule = await demo.json(*add, "--ethertype", "ipv6", "--protocol", "icmp", "--remote-ip", "::/0", "web")
    assert (rule["ether_type"], rule["protocol"], rule["remote_ip_prefix"]) == ("IPv6", "ipv6-icmp", "::/0")
    peers = (*add, "--protocol", "tcp", "--dst-port", "80:90", "--remote-group", "web", "web")
    await demo(*peers)
    await demo(*peers, fails="already exists")
    (listed,) = await demo.json("security", "group", "rule", "list", "--protocol", "tcp", "--ingress", "web")
    assert listed["Port Range"] == "80:90"
    await demo("security", "group", "set", "--name", "shop", "web")
    await demo("security", "group", "delete", "shop")


async def test_quotas_and_agents(openstack_as: As) -> None:
    demo, admin = openstack_as("demo"), openstack_as("admin")
    await admin("quota", "set", "--networks", "0", "demo", fails="already used")
    await admin("quota", "set", "--force", "--networks", "0", "demo")
    found = {each["Resource"]: each["Limit"] for each in await demo.json("quota", "show", "--network")}
    assert found["networks"] == 0
    await admin("quota", "delete", "--network", "demo")
    agents = await admin.json("network", "agent", "list", "--agent-type", "dhcp")
    assert {each["Agent Type"] for each in agents} == {"DHCP agent"}
    (use,) = [each for each in await admin.json("ip", "availability", "list") if each["Network Name"] == "private"]
    assert use["Used IPs"] == 2  # of DHCP and the router


async def test_routers_and_floating_ips(openstack_as: As) -> None:
    demo, admin = openstack_as("demo"), openstack_as("admin")
    await demo("network", "create", "inside")
    await demo("subnet", "create", "--network", "inside", "--subnet-range", "10.77.0.0/24", "inside")
    router = await demo.json("router", "create", "--external-gateway", "public", "way")
    assert router["external_gateway_info"]["enable_snat"] is True
    await demo("router", "add", "subnet", "way", "inside")
    await demo("router", "add", "route", "--route", "destination=10.78.0.0/24,gateway=10.77.0.9", "way")
    await demo("router", "set", "--description", "out", "way")
    port = await demo.json("port", "create", "--network", "inside", "p")
    floating = await demo.json("floating", "ip", "create", "--port", "p", "--description", "of the shop", "public")
    assert (floating["fixed_ip_address"], floating["status"], floating["router_id"]) == (
        port["fixed_ips"][0]["ip_address"], "ACTIVE", router["id"],
    )  # fmt: skip
    (listed,) = await demo.json("floating", "ip", "list", "--router", "way")
    assert listed["Floating IP Address"] == floating["floating_ip_address"]
    await demo("router", "remove", "subnet", "way", "inside", fails="required by one or more routes")
    await demo("router", "remove", "route", "--route", "destination=10.78.0.0/24,gateway=10.77.0.9", "way")
    await demo("router", "remove", "subnet", "way", "inside", fails="required by one or more floating IPs")
    await demo("floating", "ip", "unset", "--port", floating["floating_ip_address"])
    await demo("floating", "ip", "delete", floating["floating_ip_address"])
    shown = await demo.json("router", "show", "way")
    assert [each["ip_address"] for each in shown["interfaces_info"]] == ["10.77.0.1"]
    assert await admin.json("network", "agent", "list", "--router", "way") == []
    await demo("router", "delete", "way", fails="still has ports")
    await demo("router", "remove", "subnet", "way", "inside")
    await demo("router", "unset", "--external-gateway", "way")
    await demo("router", "delete", "way")
    assert {each["Zone Name"] for each in await demo.json("availability", "zone", "list", "--network")} == {"nova"}
