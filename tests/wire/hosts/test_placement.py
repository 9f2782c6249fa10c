"""The read side of Placement, at the versions that changed what it shows."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from floe.cloud import aggregates
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.hosts import host_id
from floe.core.resources import Resources
from floe.store import allocations
from floe.store.engine import Connection

SERVER = "11111111-1111-4111-8111-111111111111"
ALPHA, BETA = host_id("alpha"), host_id("beta")
P = "/placement"


VCPU = "resources=VCPU:1"


@pytest.mark.parametrize(
    ("query", "version", "status"),
    [
        ("resource_providers?nonsense=1", "1.0", 400),
        ("resource_providers?required=X", "1.17", 400),
        (f"resource_providers?member_of={SERVER}&member_of={SERVER}", "1.23", 400),
        (f"resource_providers?member_of={SERVER}&member_of={SERVER}", "1.24", 200),
        ("resource_providers?uuid=x", "1.0", 400),
        ("resource_providers?name=%ff", "1.0", 400),
        (f"resource_providers/{ALPHA}/usages?nonsense=1", "1.39", 200),
        ("traits?nonsense=1", "1.6", 400),
        ("traits?associated=", "1.6", 400),
        ("traits?associated=True", "1.6", 200),
        ("usages?project_id=p&nonsense=1", "1.9", 400),
        ("usages?project_id=", "1.9", 400),
        ("usages?project_id=p&consumer_type=INSTANCE", "1.37", 400),
        ("usages?project_id=p&consumer_type=all", "1.38", 200),
        ("usages?project_id=p&consumer_type=x", "1.38", 400),
        (f"allocation_candidates?{VCPU}&nonsense=1", "1.10", 400),
        (f"allocation_candidates?{VCPU}&limit=1", "1.15", 400),
        (f"allocation_candidates?{VCPU}&limit=1", "1.16", 200),
        (f"allocation_candidates?{VCPU}&limit=0", "1.16", 400),
        (f"allocation_candidates?{VCPU}&limit=²", "1.16", 400),
        ("allocation_candidates?resources1=VCPU:1", "1.24", 400),
        ("allocation_candidates?resources1=VCPU:1", "1.25", 200),
        ("allocation_candidates?resources01=VCPU:1", "1.25", 400),
        ("allocation_candidates?resources_A=VCPU:1", "1.32", 400),
        ("allocation_candidates?resources_A=VCPU:1", "1.33", 200),
        (f"allocation_candidates?{VCPU}&required1=COMPUTE_NODE", "1.35", 400),
        (f"allocation_candidates?{VCPU}&required1=COMPUTE_NODE", "1.36", 400),
        (f"allocation_candidates?{VCPU}&resources2=VCPU:1&required1=COMPUTE_NODE&same_subtree=1,2", "1.36", 200),
        (f"allocation_candidates?{VCPU}&same_subtree=1", "1.36", 400),
        (f"allocation_candidates?{VCPU}&root_required=COMPUTE_NODE", "1.35", 200),
        (f"allocation_candidates?{VCPU}&root_required=in:COMPUTE_NODE", "1.39", 400),
        (f"allocation_candidates?{VCPU}&root_required=COMPUTE_NODE&root_required=COMPUTE_NODE", "1.39", 400),
    ],
)
async def test_a_parameter_is_known_from_its_version_on(call: Any, query: str, version: str, status: int) -> None:
    assert (await call(f"{P}/{query}", version)).status_code == status


async def test_the_version_document_needs_no_token(call: Any) -> None:
    found = (await call(f"{P}/")).json()["versions"][0]
    assert (found["id"], found["min_version"], found["max_version"]) == ("v1.0", "1.0", "1.39")


async def test_a_provider_shows_its_tree_from_1_14_on(call: Any) -> None:
    old = (await call(f"{P}/resource_providers/{ALPHA}", "1.13")).json()
    assert (old["uuid"], old["name"], old["generation"]) == (ALPHA, "alpha", 1)
    assert "root_provider_uuid" not in old
    assert [link["rel"] for link in old["links"]] == [
        "self",
        "inventories",
        "usages",
        "aggregates",
        "traits",
        "allocations",
    ]
    new = (await call(f"{P}/resource_providers/{ALPHA}", "1.14")).json()
    assert (new["parent_provider_uuid"], new["root_provider_uuid"]) == (None, ALPHA)
    assert (await call(f"{P}/resource_providers/{SERVER}", "1.14")).status_code == 404


@pytest.mark.parametrize(
    ("query", "version", "names"),
    [
        ("", "1.0", ["alpha", "beta"]),
        ("?name=beta", "1.0", ["beta"]),
        (f"?uuid={ALPHA}", "1.0", ["alpha"]),
        (f"?uuid={ALPHA}&name=beta", "1.0", []),
        (f"?in_tree={BETA}", "1.14", ["beta"]),
        ("?resources=VCPU:8,MEMORY_MB:1024", "1.4", ["alpha", "beta"]),
        ("?resources=VCPU:9", "1.4", []),
        ("?resources=MEMORY_MB:3000", "1.4", ["beta"]),
        ("?resources=CUSTOM_X:1", "1.4", []),
        ("?required=CUSTOM_ALPHA", "1.18", ["alpha"]),
        ("?required=COMPUTE_NODE,!CUSTOM_ALPHA", "1.22", ["beta"]),
        ("?required=in:CUSTOM_ALPHA,CUSTOM_BETA&required=!CUSTOM_BETA", "1.39", ["alpha"]),
        (f"?member_of={SERVER}", "1.3", []),
        (f"?member_of=!{SERVER}", "1.32", ["alpha", "beta"]),
    ],
)
async def test_providers_are_found_by_what_they_have(call: Any, query: str, version: str, names: list[str]) -> None:
    reply = await call(f"{P}/resource_providers{query}", version)
    assert [each["name"] for each in reply.json()["resource_providers"]] == names


@pytest.mark.parametrize(
    ("path", "version", "status"),
    [
        ("resource_providers?resources=VCPU", "1.4", 400),
        ("resource_providers?resources=VCPU:0", "1.4", 400),
        ("resource_providers?resources=VCPU:1", "1.3", 400),
        ("resource_providers?required=!X", "1.21", 400),
        ("resource_providers?uuid=x", "1.0", 400),
        ("allocation_candidates", "1.10", 400),
        ("allocation_candidates?resources=VCPU:1", "1.9", 404),
        ("allocation_candidates?resources1=VCPU:1", "1.24", 400),
        ("allocation_candidates?resources=VCPU:1&limit=0", "1.16", 400),
        ("allocation_candidates?resources1=VCPU:1&resources2=VCPU:1", "1.25", 400),
        ("usages", "1.9", 400),
        ("resource_providers", "1.40", 406),
    ],
)
async def test_what_makes_no_sense_is_refused(call: Any, path: str, version: str, status: int) -> None:
    reply = await call(f"{P}/{path}", version)
    assert reply.status_code == status
    assert reply.json()["errors"][0]["status"] == status


async def test_inventories_usages_and_allocations_of_a_provider(call: Any) -> None:
    path = f"{P}/resource_providers/{ALPHA}"
    inventories = (await call(f"{path}/inventories")).json()
    assert inventories["resource_provider_generation"] == 1
    assert inventories["inventories"]["VCPU"] == {
        "total": 8,
        "reserved": 0,
        "min_unit": 1,
        "max_unit": 8,
        "step_size": 1,
        "allocation_ratio": 4.0,
    }
    assert (await call(f"{path}/inventories/VCPU")).json()["total"] == 8
    assert (await call(f"{path}/inventories/FPGA")).status_code == 404
    assert (await call(f"{path}/usages")).json()["usages"] == {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 10}
    old = (await call(f"{path}/allocations", "1.27")).json()["allocations"]
    assert old == {SERVER: {"resources": {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 10}}}
    new = (await call(f"{path}/allocations", "1.28")).json()["allocations"]
    assert new[SERVER]["consumer_generation"] == 1
    assert (await call(f"{path}/traits", "1.6")).json()["traits"] == ["COMPUTE_NODE", "CUSTOM_ALPHA"]
    assert (await call(f"{path}/traits", "1.5")).status_code == 404
    assert (await call(f"{path}/aggregates", "1.18")).json() == {"aggregates": []}
    assert (await call(f"{path}/aggregates", "1.19")).json() == {"aggregates": [], "resource_provider_generation": 1}


async def test_allocations_of_a_consumer(call: Any) -> None:
    amounts = {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 10}
    old = (await call(f"{P}/allocations/{SERVER}", "1.11")).json()
    assert old == {"allocations": {ALPHA: {"generation": 1, "resources": amounts}}}
    new = (await call(f"{P}/allocations/{SERVER}", "1.38")).json()
    assert (new["project_id"], new["user_id"]) == ("a" * 32, "ann")
    assert (new["consumer_generation"], new["consumer_type"]) == (1, "INSTANCE")
    assert (await call(f"{P}/allocations/{ALPHA}", "1.38")).json() == {"allocations": {}}


async def test_what_a_server_takes_for_several_purposes_is_one_allocation_on_the_wire(call: Any, cloud: Any) -> None:
    """A consumer has one allocation for each provider there, so that their sum is what the usages say."""

    def claim(conn: Connection) -> None:
        held = allocations.of_server(conn, SERVER)[0]
        allocations.claim(conn, replace(held, purpose="second", resources=Resources(1, 24, 1)))
        allocations.claim(conn, replace(held, purpose="second", host="beta", resources=Resources(1, 1, 0)))

    await cloud.db.write(claim)
    both = {"VCPU": 3, "MEMORY_MB": 1048, "DISK_GB": 11}
    of_alpha = (await call(f"{P}/resource_providers/{ALPHA}/allocations")).json()["allocations"]
    assert of_alpha == {SERVER: {"resources": both}}
    assert (await call(f"{P}/resource_providers/{ALPHA}/usages")).json()["usages"] == both
    shown = (await call(f"{P}/allocations/{SERVER}", "1.38")).json()["allocations"]
    amounts = {ident: each["resources"] for ident, each in shown.items()}
    assert amounts == {ALPHA: both, BETA: {"VCPU": 1, "MEMORY_MB": 1}}
    usages = (await call(f"{P}/usages?project_id={'a' * 32}", "1.38", who="ann")).json()["usages"]
    assert usages["INSTANCE"] == {"consumer_count": 1, "VCPU": 4, "MEMORY_MB": 1049, "DISK_GB": 11}


async def test_usages_of_a_project_are_for_its_members(call: Any) -> None:
    path = f"{P}/usages?project_id={'a' * 32}"
    amounts = {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 10}
    assert (await call(path, "1.37", who="ann")).json() == {"usages": amounts}
    assert (await call(path, "1.38", who="ann")).json() == {"usages": {"INSTANCE": {"consumer_count": 1, **amounts}}}
    assert (await call(path, "1.38", who="bob")).status_code == 403
    assert (await call(f"{path}&user_id=eve", "1.37")).json() == {"usages": {}}


async def test_candidates_grow_with_the_versions(call: Any) -> None:
    path = f"{P}/allocation_candidates?resources=VCPU:1,MEMORY_MB:3000"
    first = (await call(path, "1.10")).json()
    amounts = {"VCPU": 1, "MEMORY_MB": 3000}
    assert first["allocation_requests"] == [
        {"allocations": [{"resource_provider": {"uuid": BETA}, "resources": amounts}]}
    ]
    assert first["provider_summaries"] == {
        BETA: {"resources": {"VCPU": {"capacity": 32, "used": 0}, "MEMORY_MB": {"capacity": 3584, "used": 0}}}
    }
    last = (await call(path, "1.39")).json()
    assert last["allocation_requests"] == [{"allocations": {BETA: {"resources": amounts}}, "mappings": {"": [BETA]}}]
    summary = last["provider_summaries"][BETA]
    assert set(summary["resources"]) == {"VCPU", "MEMORY_MB", "DISK_GB"}
    assert (summary["traits"], summary["root_provider_uuid"]) == (["COMPUTE_NODE", "CUSTOM_BETA"], BETA)


async def test_groups_of_a_request_share_a_host_unless_they_are_isolated(call: Any) -> None:
    path = f"{P}/allocation_candidates?resources1=VCPU:1&resources2=VCPU:2&group_policy="
    together = (await call(path + "none", "1.34")).json()["allocation_requests"]
    assert together[0] == {
        "allocations": {ALPHA: {"resources": {"VCPU": 3}}},
        "mappings": {"1": [ALPHA], "2": [ALPHA]},
    }
    assert (await call(path + "isolate", "1.34")).json()["allocation_requests"] == []


async def test_traits_and_classes(call: Any) -> None:
    assert (await call(f"{P}/traits?name=startswith:CUSTOM", "1.6")).json()["traits"] == ["CUSTOM_ALPHA", "CUSTOM_BETA"]
    assert (await call(f"{P}/traits/CUSTOM_BETA", "1.6")).status_code == 204
    assert (await call(f"{P}/traits/CUSTOM_X", "1.6")).status_code == 404
    classes = (await call(f"{P}/resource_classes", "1.2")).json()["resource_classes"]
    assert [each["name"] for each in classes] == ["VCPU", "MEMORY_MB", "DISK_GB"]
    assert (await call(f"{P}/resource_providers", who="ann")).status_code == 403


async def test_the_aggregates_of_hosts_are_those_of_their_providers(call: Any, cloud: Cloud) -> None:
    root = Context(request_id="")
    made = {}
    for number, (name, *there) in enumerate((("both", "alpha", "beta"), ("one", "beta"), ("none",))):
        source = replace(cloud, new_id=lambda number=number: f"00000000-0000-4000-8000-00000000000{number}")
        (made[name],) = await aggregates.create(source, root, [{"name": name}])
        for host in there:
            await aggregates.add_host(cloud, root, str(made[name].id), {"host": host})
    both, one, none = (made[name].uuid for name in ("both", "one", "none"))
    shown = (await call(f"{P}/resource_providers/{BETA}/aggregates", "1.19")).json()
    assert shown == {"aggregates": [both, one], "resource_provider_generation": 2}
    for query, version, names in (
        (f"member_of={both}", "1.3", ["alpha", "beta"]),
        (f"member_of={one.replace('-', '')}", "1.3", ["beta"]),
        (f"member_of=in:{one},{none}", "1.3", ["beta"]),
        (f"member_of={both}&member_of={one}", "1.24", ["beta"]),
        (f"member_of={both}&member_of=!{one}", "1.32", ["alpha"]),
        (f"member_of=!in:{one},{both}", "1.32", []),
        (f"member_of={none}", "1.3", []),
        (f"member_of={SERVER}", "1.3", []),
    ):
        found = (await call(f"{P}/resource_providers?{query}", version)).json()["resource_providers"]
        assert [each["name"] for each in found] == names, query
        if version != "1.3":
            path = f"{P}/allocation_candidates?resources=VCPU:1&{query}"
            summaries = (await call(path, version)).json()["provider_summaries"]
            assert set(summaries) == {host_id(name) for name in names}, query
