"""Port forwardings over HTTP: what leads where, what is refused, and what hosts are told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from floe.api.kit.resource import Use
from floe.api.network.port_forwardings import PORT_FORWARDING
from floe.cloud import host_networks, ports
from floe.cloud.cloud import Cloud
from floe.core.host_network import HostForwarding, HostNetwork
from floe.core.port_forwardings import MAX_PORTS
from floe.store import port_forwardings as rows

from .test_floating_ips import lead, public, refused, router
from .test_server_ports import Callers, bound, planned, stale

__all__ = ["public", "router"]

NOWHERE = "99999999-0000-4000-8000-000000000000"
Forward = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def port(make: Any, router: Any) -> dict[str, Any]:
    """Give a port behind the router."""
    made: dict[str, Any] = await make("ann", "port", network_id=router["network_id"], name="inner")
    return made


@pytest.fixture
async def floating(make: Any, public: Any) -> dict[str, Any]:
    """Give a floating IP that leads nowhere."""
    made: dict[str, Any] = await make("ann", "floatingip", floating_network_id=public["id"])
    return made


def path(floating: Any, forwarding: Any = None) -> str:
    every = f"/v2.0/floatingips/{floating['id']}/port_forwardings"
    return every if forwarding is None else f"{every}/{forwarding['id']}"


def asked(port: Any, external: int = 2222, internal: int = 22, **fields: Any) -> dict[str, Any]:
    """Return what the command line client sends."""
    wanted = {
        "internal_port_id": port["id"], "internal_ip_address": port["fixed_ips"][0]["ip_address"], "protocol": "tcp",
        "external_port": external, "internal_port": internal, **fields,
    }  # fmt: skip
    return {"port_forwarding": {name: value for name, value in wanted.items() if value is not ...}}


@pytest.fixture
def forward(client: Any) -> Forward:
    """Give a maker of port forwardings."""

    async def made(floating: Any, port: Any, *ports: int, who: str = "ann", **fields: Any) -> dict[str, Any]:
        reply = await client(who).post(path(floating), json=asked(port, *ports, **fields))
        assert reply.status_code == 201, reply.text
        found: dict[str, Any] = reply.json()["port_forwarding"]
        return found

    return made


async def test_a_port_forwarding_lives_and_dies(
    client: Any, floating: Any, port: Any, router: Any, forward: Forward
) -> None:
    ann = client("ann")
    made = await forward(floating, port, description="for the shop")
    address = port["fixed_ips"][0]["ip_address"]
    assert made == {
        "id": made["id"], "description": "for the shop", "protocol": "tcp", "internal_port_id": port["id"],
        "internal_ip_address": address, "external_port": 2222, "external_port_range": "2222:2222", "internal_port": 22,
        "internal_port_range": "22:22",
    }  # fmt: skip
    assert (await ann.get(path(floating, made))).json() == {"port_forwarding": made}
    assert (await ann.get(path(floating))).json() == {"port_forwardings": [made]}
    above = (await ann.get(f"/v2.0/floatingips/{floating['id']}")).json()["floatingip"]
    assert (above["status"], above["router_id"], above["port_id"], above["port_details"]) == (
        "ACTIVE", router["id"], None, None,
    )  # fmt: skip
    shown = {
        "id": made["id"], "protocol": "tcp", "external_port": 2222, "internal_port": 22,
        "internal_ip_address": address, "internal_port_id": port["id"],
    }  # fmt: skip
    assert above["port_forwardings"] == [shown]
    (listed,) = (await ann.get("/v2.0/floatingips?status=ACTIVE")).json()["floatingips"]
    assert listed["port_forwardings"] == [shown]
    assert above["revision_number"] > floating["revision_number"]
    assert (await ann.delete(path(floating, made))).status_code == 204
    refused(await ann.get(path(floating, made)), 404, "PortForwardingNotFound", made["id"])
    refused(await ann.delete(path(floating, made)), 404, "PortForwardingNotFound", made["id"])
    after = (await ann.get(f"/v2.0/floatingips/{floating['id']}")).json()["floatingip"]
    assert (after["status"], after["router_id"], after["port_forwardings"]) == ("DOWN", None, [])


async def test_the_last_forwarding_takes_the_router_along(
    client: Any, floating: Any, port: Any, router: Any, forward: Forward
) -> None:
    ann = client("ann")
    one, two = await forward(floating, port), await forward(floating, port, 2223, 23)
    for gone, leads in ((one, router["id"]), (two, None)):
        assert (await ann.delete(path(floating, gone))).status_code == 204
        found = (await ann.get(f"/v2.0/floatingips/{floating['id']}")).json()["floatingip"]
        assert found["router_id"] == leads


SAMPLES: dict[str, Any] = {
    "description": "of the shop", "protocol": "udp", "internal_port_id": "{other}", "internal_ip_address": "10.1.0.77",
    "external_port": 4000, "external_port_range": "4001:4001", "internal_port": 4002,
    "internal_port_range": "4003:4003",
}  # fmt: skip


def test_every_field_has_a_sample() -> None:
    written = {name for name, wire in PORT_FORWARDING.fields.by_name.items() if wire.use & Use.WRITE and wire.field}
    assert written == SAMPLES.keys()


@pytest.mark.parametrize("name", SAMPLES)
async def test_each_field_that_is_written_is_read(
    client: Any, make: Any, router: Any, floating: Any, forward: Forward, name: str
) -> None:
    ann = client("ann")
    addresses = [{"ip_address": "10.1.0.76"}, {"ip_address": "10.1.0.77"}]
    port = await make("ann", "port", network_id=router["network_id"], fixed_ips=addresses)
    other = await make("ann", "port", network_id=router["network_id"])
    sample = SAMPLES[name].format(other=other["id"]) if isinstance(SAMPLES[name], str) else SAMPLES[name]
    instead = {name.removesuffix("_range"): ...} if name.endswith("_range") else {}
    if name == "internal_port_id":
        instead = {"internal_ip_address": other["fixed_ips"][0]["ip_address"]}
    new = await forward(floating, port, **{**instead, name: sample})
    assert new[name] == sample
    assert (await ann.delete(path(floating, new))).status_code == 204
    made = await forward(floating, port)
    assert made[name] != sample
    reply = await ann.put(path(floating, made), json={"port_forwarding": {name: sample}})
    assert reply.status_code == 200, reply.text
    assert reply.json()["port_forwarding"][name] == sample
    assert (await ann.get(path(floating, made))).json() == reply.json()


async def test_a_forwarding_is_changed_and_what_is_so_already_stays(
    client: Any, floating: Any, port: Any, forward: Forward
) -> None:
    ann = client("ann")
    made = await forward(floating, port)
    before = (await ann.get(f"/v2.0/floatingips/{floating['id']}")).json()["floatingip"]["revision_number"]
    for name, value in made.items():
        if name != "id":
            reply = await ann.put(path(floating, made), json={"port_forwarding": {name: value}})
            assert reply.json() == {"port_forwarding": made}
    after = (await ann.get(f"/v2.0/floatingips/{floating['id']}")).json()["floatingip"]["revision_number"]
    assert after == before
    reply = await ann.put(path(floating, made), json={"port_forwarding": {"id": NOWHERE}})
    refused(reply, 400, "HTTPBadRequest", "read-only")


@pytest.mark.parametrize(
    ("fields", "kind", "word"),
    [
        ({"external_port": 0}, "InvalidInput", "external_port"),
        ({"external_port": 65536}, "InvalidInput", "65536"),
        ({"internal_port": -1}, "InvalidInput", "-1"),
        ({"external_port": "ssh"}, "InvalidInput", "ssh"),
        ({"external_port": ..., "external_port_range": "90:80"}, "InvalidInput", "90:80"),
        ({"external_port": ..., "external_port_range": "90:"}, "InvalidInput", "external_port_range"),
        ({"external_port": ..., "external_port_range": "1:2:3"}, "InvalidInput", "2:3"),
        ({"external_port": ..., "external_port_range": [80]}, "InvalidInput", "external_port_range"),
        ({"external_port": ..., "external_port_range": "80:90", "internal_port": ..., "internal_port_range": "1:5"},
         "BadRequest", "1:5"),
        ({"internal_port": ..., "internal_port_range": "1:5"}, "BadRequest", "1:5"),
        ({"external_port_range": "80:90"}, "BadRequest", "leave one of them out"),
        ({"external_port": ...}, "BadRequest", "external_port"),
        ({"internal_port": None}, "BadRequest", "internal_port"),
        ({"external_port": ..., "external_port_range": f"1:{MAX_PORTS + 1}"}, "BadRequest", str(MAX_PORTS)),
        ({"protocol": "icmp"}, "HTTPBadRequest", "icmp"),
        ({"protocol": ...}, "HTTPBadRequest", "protocol"),
        *(({"protocol": each}, "HTTPBadRequest", "none of tcp, udp") for each in (1, "icmp", "sctp", "132", "dccp")),
        ({"protocol": {}}, "HTTPBadRequest", "protocol"),
        ({"internal_ip_address": "10.1.0.222"}, "BadRequest", "10.1.0.222"),
        ({"internal_ip_address": "nowhere"}, "InvalidInput", "nowhere"),
        ({"internal_port_id": NOWHERE}, "PortNotFound", NOWHERE),
        ({"internal_port_id": "nowhere"}, "HTTPBadRequest", "nowhere"),
        ({"internal_port_id": ...}, "HTTPBadRequest", "internal_port_id"),
        ({"description": "x" * 256}, "HTTPBadRequest", "255"),
        ({"unknown": 1}, "HTTPBadRequest", "unknown"),
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(
    client: Any, floating: Any, port: Any, fields: dict[str, Any], kind: str, word: str
) -> None:
    reply = await client("ann").post(path(floating), json=asked(port, **fields))
    refused(reply, 404 if kind == "PortNotFound" else 400, kind, word)
    assert (await client("ann").get(path(floating))).json() == {"port_forwardings": []}


async def test_names_and_numbers_of_protocols_are_the_same(floating: Any, port: Any, forward: Forward) -> None:
    for number, (protocol, known) in enumerate((("TCP", "tcp"), ("17", "udp"), (6, "tcp")), 1):
        assert (await forward(floating, port, number, number, protocol=protocol))["protocol"] == known


async def test_ports_collide_outside_and_inside(
    client: Any, make: Any, public: Any, router: Any, floating: Any, port: Any, forward: Forward
) -> None:
    ann = client("ann")
    made = await forward(floating, port)
    other = await make("ann", "port", network_id=router["network_id"])
    second = await make("ann", "floatingip", floating_network_id=public["id"])
    spans = {"external_port": ..., "external_port_range": "2220:2230", "internal_port": 80}
    for where, to, fields in (
        (floating, other, {}),
        (floating, other, spans),
        (second, port, {}),
        (second, port, {"external_port": ..., "external_port_range": "20:30", "internal_port": ...,
                        "internal_port_range": "20:30"}),
    ):  # fmt: skip
        reply = await ann.post(path(where), json=asked(to, **fields))
        refused(reply, 400, "BadRequest", "collision", "22")
    await forward(floating, other, 2222, 22, protocol="udp")
    await forward(second, other, 2222, 22)
    beside = await forward(floating, other, 2223, 23)
    for change in ({"external_port": 2222}, {"external_port_range": "2200:2222"}):
        refused(await ann.put(path(floating, beside), json={"port_forwarding": change}), 400, "BadRequest", "collision")
    change = {"internal_port_id": port["id"], "internal_port": 22}
    refused(await ann.put(path(floating, beside), json={"port_forwarding": change}), 400, "BadRequest", "collision")
    assert (await ann.get(path(floating, made))).json() == {"port_forwarding": made}


async def test_ranges_lead_port_by_port_or_all_to_one(floating: Any, port: Any, forward: Forward) -> None:
    several = {"external_port": ..., "internal_port": ...}
    made = await forward(floating, port, **several, external_port_range="80:90", internal_port_range="180:190")
    assert (made["external_port_range"], made["internal_port_range"]) == ("80:90", "180:190")
    assert not {"external_port", "internal_port"} & made.keys()
    one = await forward(floating, port, internal=5, external=..., external_port_range="100:110")  # type: ignore[call-arg]
    assert (one["external_port_range"], one["internal_port"]) == ("100:110", 5)


async def test_of_many_at_once_for_one_port_one_is_made(client: Any, make: Any, router: Any, floating: Any) -> None:
    others = [await make("ann", "port", network_id=router["network_id"]) for _ in range(6)]
    replies = await asyncio.gather(*(client("ann").post(path(floating), json=asked(to)) for to in others))
    assert Counter(reply.status_code for reply in replies) == {201: 1, 400: 5}
    spans = [{"external_port": ..., "external_port_range": f"{3000 + n}:{3010 + n}"} for n in range(6)]
    replies = await asyncio.gather(
        *(
            client("ann").post(path(floating), json=asked(others[n], internal=80 + n, **span))
            for n, span in enumerate(spans)
        )
    )
    assert Counter(reply.status_code for reply in replies) == {201: 1, 400: 5}


async def test_the_database_itself_knows_of_no_two(cloud: Cloud, floating: Any, port: Any, forward: Forward) -> None:
    made = await forward(floating, port)
    found = await cloud.db.read(lambda conn: rows.get(conn, made["id"]))
    for column in ("external_first", "internal_first"):
        values = {**rows.ROWS.values(found), "id": NOWHERE, column: 1}  # type: ignore[arg-type]
        with pytest.raises(sa.exc.IntegrityError):
            await cloud.db.write(lambda conn: conn.execute(sa.insert(rows.port_forwardings).values(values)))  # noqa: B023


async def test_a_floating_ip_leads_to_a_port_or_forwards(
    client: Any, make: Any, public: Any, router: Any, floating: Any, port: Any, forward: Forward
) -> None:
    ann = client("ann")
    made = await forward(floating, port)
    other = await make("ann", "port", network_id=router["network_id"])
    refused(await lead(ann, floating, port_id=other["id"]), 409, "FipInUseByPortForwarding", floating["id"])
    refused(await ann.delete(f"/v2.0/floatingips/{floating['id']}"), 409, "FipInUseByPortForwarding", floating["id"])
    same = (await lead(ann, floating, port_id=None, description="kept")).json()["floatingip"]
    assert (same["router_id"], same["description"]) == (router["id"], "kept")
    assert [each["id"] for each in same["port_forwardings"]] == [made["id"]]
    leading = await make("ann", "floatingip", floating_network_id=public["id"], port_id=other["id"])
    reply = await ann.post(path(leading), json=asked(port, internal=23))
    refused(reply, 409, "FloatingIPPortAlreadyAssociated", other["id"])
    reply = await ann.post(path(floating), json=asked(other, 2223))
    refused(reply, 409, "PortHasBindingFloatingIP", leading["floating_ip_address"])
    reply = await ann.put(path(floating, made), json={"port_forwarding": {"internal_port_id": other["id"]}})
    refused(reply, 409, "PortHasBindingFloatingIP")
    assert (await ann.delete(path(floating, made))).status_code == 204
    assert (await ann.delete(f"/v2.0/floatingips/{floating['id']}")).status_code == 204


async def test_port_details_are_those_of_the_port(client: Any, make: Any, public: Any, port: Any) -> None:
    floating = await make("ann", "floatingip", floating_network_id=public["id"], port_id=port["id"])
    assert floating["port_details"] == {
        "name": "inner", "network_id": port["network_id"], "mac_address": port["mac_address"], "admin_state_up": True,
        "status": "DOWN", "device_id": "", "device_owner": "",
    }  # fmt: skip
    await client("ann").put(f"/v2.0/ports/{port['id']}", json={"port": {"name": "other"}})
    (listed,) = (await client("ann").get("/v2.0/floatingips?fields=port_details")).json()["floatingips"]
    assert listed["port_details"]["name"] == "other"
    nowhere = (await lead(client("ann"), floating, port_id=None)).json()["floatingip"]
    assert nowhere["port_details"] is None


async def test_what_forwardings_lead_through_stays(
    client: Any, make: Any, public: Any, router: Any, floating: Any, port: Any, forward: Forward
) -> None:
    ann, where = client("ann"), f"/v2.0/routers/{router['id']}"
    made = await forward(floating, port)
    reply = await ann.put(f"{where}/remove_router_interface", json={"subnet_id": router["subnet_id"]})
    refused(reply, 409, "RouterInterfaceInUseByFloatingIP")
    reply = await ann.put(where, json={"router": {"external_gateway_info": None}})
    refused(reply, 409, "RouterExternalGatewayInUseByFloatingIp")
    second = await make("ann", "router", external_gateway_info={"network_id": public["id"]})
    network = await make("ann", "network")
    subnet = await make("ann", "subnet", network_id=network["id"], cidr="10.2.0.0/24")
    far = await make("ann", "port", network_id=network["id"])
    refused(await ann.post(path(floating), json=asked(far, 2223)), 400, "BadRequest", "not reachable", far["id"])
    body = {"subnet_id": subnet["id"]}
    await ann.put(f"/v2.0/routers/{second['id']}/add_router_interface", json=body)
    refused(await ann.post(path(floating), json=asked(far, 2223)), 400, "BadRequest", router["id"], "can not reach it")
    moved = {"internal_port_id": far["id"], "internal_ip_address": far["fixed_ips"][0]["ip_address"]}
    assert (await ann.put(path(floating, made), json={"port_forwarding": moved})).status_code == 200
    found = (await ann.get(f"/v2.0/floatingips/{floating['id']}")).json()["floatingip"]
    assert found["router_id"] == second["id"], "its only forwarding may go by another way"
    assert (await ann.put(where, json={"router": {"external_gateway_info": None}})).status_code == 200


async def test_forwardings_go_with_their_port_and_with_its_address(
    client: Any, make: Any, router: Any, floating: Any, port: Any, forward: Forward
) -> None:
    ann = client("ann")
    addresses = [{"ip_address": "10.1.0.76"}, {"ip_address": "10.1.0.77"}]
    two = await make("ann", "port", network_id=router["network_id"], fixed_ips=addresses)
    first, second = [
        await forward(floating, two, 4000 + at, internal_ip_address=address["ip_address"])
        for at, address in enumerate(addresses)
    ]
    other = await forward(floating, port)
    reply = await ann.put(f"/v2.0/ports/{two['id']}", json={"port": {"fixed_ips": addresses[1:]}})
    assert reply.status_code == 200
    left = (await ann.get(path(floating))).json()["port_forwardings"]
    assert {each["id"] for each in left} == {second["id"], other["id"]}
    assert first["id"] not in {each["id"] for each in left}
    for gone, leads in ((two, router["id"]), (port, None)):
        assert (await ann.delete(f"/v2.0/ports/{gone['id']}")).status_code == 204
        found = (await ann.get(f"/v2.0/floatingips/{floating['id']}")).json()["floatingip"]
        assert (found["router_id"], found["status"]) == (leads, "ACTIVE" if leads else "DOWN")
    assert (await ann.get(path(floating))).json() == {"port_forwardings": []}


async def test_whose_they_are(
    client: Any, make: Any, public: Any, router: Any, floating: Any, port: Any, forward: Forward
) -> None:
    made = await forward(floating, port)
    bob, eve, root = client("bob"), client("eve"), client("root")
    for reply in (
        await bob.get(path(floating)), await bob.get(path(floating, made)), await bob.delete(path(floating, made)),
        await bob.put(path(floating, made), json={"port_forwarding": {"description": "mine"}}),
        await bob.post(path(floating), json=asked(port, 1, 1)),
    ):  # fmt: skip
        refused(reply, 404, "FloatingIPNotFound", floating["id"])
    refused(await bob.get(path({"id": NOWHERE})), 404, "FloatingIPNotFound", NOWHERE)
    assert (await eve.get(path(floating, made))).status_code == 200
    for reply in (
        await eve.delete(path(floating, made)), await eve.post(path(floating), json=asked(port, 1, 1)),
        await eve.put(path(floating, made), json={"port_forwarding": {"description": "mine"}}),
    ):  # fmt: skip
        refused(reply, 403, "PolicyNotAuthorized")
    theirs = await make("bob", "floatingip", floating_network_id=public["id"])
    refused(await bob.get(path(theirs, made)), 404, "PortForwardingNotFound", made["id"])
    refused(await bob.delete(path(theirs, made)), 404, "PortForwardingNotFound", made["id"])
    refused(await bob.post(path(theirs), json=asked(port, 1, 1)), 404, "PortNotFound", port["id"])
    assert (await root.get(path(floating))).json() == {"port_forwardings": [made]}
    by_root = await forward(floating, port, 1, 1, who="root", project_id="0" * 32)
    assert (await client("ann").get(path(floating, by_root))).status_code == 200, "it is whose its floating IP is"
    assert (await root.delete(path(floating, by_root))).status_code == 204


async def test_a_port_of_the_cloud_itself_is_not_led_to(client: Any, router: Any, floating: Any) -> None:
    (own,) = (await client("ann").get(f"/v2.0/ports?device_id={router['id']}")).json()["ports"]
    refused(await client("ann").post(path(floating), json=asked(own)), 400, "BadRequest", "network:router_interface")


@pytest.mark.parametrize("way", ["forwarded", "led to"])
async def test_a_port_that_is_reached_so_is_no_interface_of_a_router(
    client: Any, make: Any, floating: Any, port: Any, forward: Forward, way: str
) -> None:
    if way == "forwarded":
        await forward(floating, port)
    else:
        assert (await lead(client("ann"), floating, port_id=port["id"])).status_code == 200
    second = await make("ann", "router")
    reply = await client("ann").put(f"/v2.0/routers/{second['id']}/add_router_interface", json={"port_id": port["id"]})
    refused(reply, 409, "PortInUse", port["id"])


async def test_lists_are_filtered_sorted_and_paged(
    client: Any, make: Any, router: Any, floating: Any, port: Any, forward: Forward
) -> None:
    ann = client("ann")
    other = await make("ann", "port", network_id=router["network_id"])
    made = {
        "a": await forward(floating, port, 300, 1, description="first"),
        "b": await forward(floating, other, 200, 2, protocol="udp"),
        "c": await forward(floating, other, external=..., internal=3, external_port_range="100:110"),  # type: ignore[call-arg]
    }

    async def found(query: str) -> str:
        reply = await ann.get(f"{path(floating)}?{query}")
        assert reply.status_code == 200, reply.text
        return "".join(
            key for each in reply.json()["port_forwardings"] for key in made if made[key]["id"] == each["id"]
        )

    for query, names in (
        ("external_port=200", "b"), ("external_port=100", ""), ("external_port_range=100:110", "c"),
        ("external_port_range=200", "b"), ("protocol=tcp", "ac"), ("protocol=UDP", "b"), ("description=first", "a"),
        (f"internal_port_id={other['id']}", "bc"), (f"id={made['a']['id']}&id={made['b']['id']}", "ab"),
        ("sort_key=protocol&sort_dir=desc&sort_key=id", "bac"), ("sort_key=external_port", "cba"),
        ("sort_key=external_port_range", "cba"),
    ):  # fmt: skip
        assert await found(query) == names, query
    for wrong in ("internal_port=1", "internal_ip_address=10.1.0.2", "floating_id=x", "sort_key=internal_port"):
        assert (await ann.get(f"{path(floating)}?{wrong}")).status_code == 400
    seen, link = [], f"{path(floating)}?limit=2"
    while link:
        page = (await ann.get(link)).json()
        seen += page["port_forwardings"]
        link = next((each["href"] for each in page.get("port_forwardings_links", ()) if each["rel"] == "next"), "")
        assert not link or path(floating) in link
    assert [each["id"] for each in seen] == sorted(each["id"] for each in made.values())
    (short, *_) = (await ann.get(f"{path(floating)}?fields=protocol")).json()["port_forwardings"]
    assert short.keys() == {"protocol"}


async def test_floating_ips_are_bounded_in_ports(client: Any, floating: Any, port: Any, forward: Forward) -> None:
    span = {"external_port": ..., "external_port_range": f"1:{MAX_PORTS}"}
    made = await forward(floating, port, **span)
    refused(await client("ann").post(path(floating), json=asked(port, 60000, 23)), 400, "BadRequest", str(MAX_PORTS))
    less = {"external_port_range": f"1:{MAX_PORTS - 1}"}
    assert (await client("ann").put(path(floating, made), json={"port_forwarding": less})).status_code == 200
    await forward(floating, port, 60000, 23)
    more = {"external_port_range": f"1:{MAX_PORTS}"}
    refused(await client("ann").put(path(floating, made), json={"port_forwarding": more}), 400, "BadRequest")


async def test_many_floating_ips_are_listed_in_as_many_statements_as_two(
    cloud: Cloud, client: Any, make: Any, public: Any, router: Any, forward: Forward
) -> None:
    statements: Counter[str] = Counter()

    def note(_conn: Any, _cursor: Any, text: str, *_: Any) -> None:
        statements["all"] += 1

    async def counted() -> int:
        before = statements["all"]
        assert (await client("ann").get("/v2.0/floatingips")).status_code == 200
        return statements["all"] - before

    async def one(number: int) -> None:
        port = await make("ann", "port", network_id=router["network_id"])
        floating = await make("ann", "floatingip", floating_network_id=public["id"])
        if number % 2:
            await forward(floating, port)
        else:
            await lead(client("ann"), floating, port_id=port["id"])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        await one(0)
        await one(1)
        few = await counted()
        for number in range(10):
            await one(number)
        assert await counted() == few
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


async def test_the_host_of_the_guest_is_told_of_what_leads_to_it(
    cloud: Cloud,
    callers: Callers,
    client: Any,
    public: Any,
    router: Any,
    floating: Any,
    forward: Forward,
    nudges: list[str],
) -> None:
    ann = callers["ann"]
    nics = [await planned(cloud, ann, [{"uuid": router["network_id"]}]) for _ in range(2)]
    (here,), _ = await bound(cloud, ann, nics[0], "s1", "h1")
    (there,), _ = await bound(cloud, ann, nics[1], "s2", "h2")

    async def told(*hosts: str) -> dict[str, tuple[HostForwarding, ...]]:
        await cloud.bus.idle()  # type: ignore[attr-defined]
        assert await stale(cloud) == list(hosts)
        assert nudges == (["network"] if hosts else [])
        nudges.clear()
        found = {}
        for host in ("h1", "h2"):
            whole = await cloud.db.read(lambda conn: host_networks.whole(conn, host, "cloud.internal"))  # noqa: B023
            await cloud.db.write(lambda conn: applied(conn, host, whole))  # noqa: B023
            [entry] = whole.routers
            found[host] = entry.forwarded
        return found

    def applied(conn: Any, host: str, whole: HostNetwork) -> None:
        host_networks.applied(conn, host, whole, whole.generation)

    await told()
    port = {"id": here.port_id, "fixed_ips": [{"ip_address": here.addresses[0].address}]}
    made = await forward(floating, port)
    expected = HostForwarding(
        forwarding_id=made["id"], address=floating["floating_ip_address"], protocol="tcp", external=(2222, 2222),
        fixed=here.addresses[0].address, internal=(22, 22), port_id=here.port_id,
    )  # fmt: skip
    assert await told("h1") == {"h1": (expected,), "h2": ()}
    await client("ann").put(path(floating, made), json={"port_forwarding": {"description": "nothing to a host"}})
    await told()
    moved = {"internal_port_id": there.port_id, "internal_ip_address": there.addresses[0].address}
    assert (await client("ann").put(path(floating, made), json={"port_forwarding": moved})).status_code == 200
    found = await told("h1", "h2")
    assert [len(found[host]) for host in ("h1", "h2")] == [0, 1]
    assert (await client("ann").delete(path(floating, made))).status_code == 204
    assert (await told("h2"))["h2"] == ()
    await forward(floating, port)
    await told("h1")
    await cloud.db.write(lambda conn: ports.release(conn, "s1", cloud.clock.now()))
    assert (await client("ann").get(path(floating))).json() == {"port_forwardings": []}


async def test_several_are_made_at_once_or_none(client: Any, floating: Any, port: Any) -> None:
    items = [asked(port, number, number)["port_forwarding"] for number in (1, 2, 3)]
    reply: httpx.Response = await client("ann").post(path(floating), json={"port_forwardings": items})
    assert reply.status_code == 201
    assert [each["external_port"] for each in reply.json()["port_forwardings"]] == [1, 2, 3]
    again = [asked(port, number, number)["port_forwarding"] for number in (4, 1)]
    refused(await client("ann").post(path(floating), json={"port_forwardings": again}), 400, "BadRequest", "collision")
    assert len((await client("ann").get(path(floating))).json()["port_forwardings"]) == 3
