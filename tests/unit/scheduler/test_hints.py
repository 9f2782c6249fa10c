"""What each scheduler hint does: which hosts it leaves, what is said of the others, and what cannot be meant."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.core import host_queries, scheduler_hints
from floe.core.errors import Invalid, NoValidHost
from floe.core.resources import Inventory, Resources
from floe.scheduler.hosts import HostTable
from floe.scheduler.select import fitting, select
from floe.scheduler.spec import RequestSpec

from .test_select import SMALL, host

RESERVING = tuple(
    Inventory(resource_class=name, total=total, reserved=kept, allocation_ratio=4.0)
    for name, total, kept in (("VCPU", 8, 0), ("MEMORY_MB", 4096, 512), ("DISK_GB", 100, 0))
)
TABLE = HostTable(
    [
        host("a", inventories=RESERVING, used=Resources(2, 1024, 10), address="10.0.0.1"),
        host("b", vcpus=4, memory=2048, address="10.0.1.1"),
        host("c", vcpus=2, memory=9000, disk=20, address="fd00::7"),
    ]
)


def asking(query: Any) -> RequestSpec:
    return replace(SMALL, query=host_queries.read(query if isinstance(query, str) else json.dumps(query)))


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ([], "abc"),
        ("", "abc"),
        (["=", "$vcpus_total", 4], "b"),
        (["=", "$free_ram_mb", 2560], "a"),
        (["=", "$free_disk_mb", 90 * 1024], "a"),
        (["=", "$disk_mb_used", 10 * 1024], "a"),
        (["<", "$total_usable_disk_gb", 100], "c"),
        ([">=", "$total_usable_ram_mb", 4096], "ac"),
        ([">=", 2, "$vcpus_used", 0.5], "abc"),
        (["<=", "$vcpus_used", "$vcpus_total", 3], "abc"),
        (["<", "$vcpus_used", "$vcpus_total", 2], "bc"),
        (["in", "$hypervisor_hostname", "b", "c"], "bc"),
        (["in", "$vcpus_total", 2, 4], "bc"),
        ([">", "$host", "a"], "bc"),
        (["not", ["=", "$nodename", "a"]], "bc"),
        (["not", [">", "$vcpus_total", 2], ["<", "$vcpus_total", 8]], "ac"),
        (["or", ["=", "$host", "a"], ["=", "$host", "c"]], "ac"),
        (["and", [">", "$vcpus_total", 2], ["<", "$vcpus_total", 8]], "b"),
        (["=", "same", "same"], "abc"),
        (["=", 1, 2], ""),
    ],
)
def test_a_query_keeps_the_hosts_of_which_it_holds(query: Any, kept: str) -> None:
    assert fitting(asking(query), TABLE) == list(kept)


def test_a_refusal_names_the_hint_and_what_hosts_have() -> None:
    spec = asking(["and", [">=", "$free_ram_mb", 9001], ["=", "$host", "c"]])
    with pytest.raises(NoValidHost) as found:
        select(spec, TABLE, 0)
    assert found.value.message == "No valid host: 3 hosts considered; 3 are ruled out by the hint query."
    assert found.value.reasons["a"] == "hint query: it does not hold; $free_ram_mb is 2560, $host is a"
    with pytest.raises(NoValidHost) as found:
        select(replace(SMALL, same_hosts=frozenset({"a"}), different_hosts=frozenset({"a"})), TABLE, 0)
    assert found.value.message.endswith(
        "1 is ruled out by the hint different_host; 2 are ruled out by the hint same_host."
    )


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"=": 1}, "a JSON list|stands where a list"),
        ("nonsense", "not JSON"),
        ("[" * 4000, "not JSON|deep"),
        ("[" * 2000 + "]" * 2000, "deep"),
        (["or", *[["=", 1, 1]] * 600], "4096 are the most"),
        (["or", *[["=", 1, 1]] * 65], "128 are the most"),
        (["="], "at least two"),
        (["=", "$vcpus_total"], "at least two"),
        (["and"], "nothing after"),
        (["and", []], "stands where a list"),
        (["and", True], "stands where a list"),
        (["like", "$host", "a"], "none of"),
        ([["="], 1, 2], "none of"),
        (["=", "$capabilities.x", 1], r"no variable; there are \$free_ram_mb"),
        (["<", "$vcpus_total", "4"], "a number with a text"),
        (["=", "$vcpus_total", True], "no variable, text, or number"),
        (["=", "$vcpus_total", 10**30], "no variable, text, or number"),
        ("[1e999]", "not JSON|none of"),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused(query: Any, why: str) -> None:
    with pytest.raises(Invalid, match=f"hint query cannot be read: .*({why})"):
        asking(query)


_ODD = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
    | st.sampled_from(["=", "in", "not", "or", "<", "$host", "$free_ram_mb", "$vcpus_total", 4]),
    lambda inner: st.lists(inner, max_size=4)
    | st.tuples(st.sampled_from(["=", "<=", "in", "and", "not"]), inner, inner),
    max_leaves=12,
)  # fmt: skip


@given(_ODD)
def test_whatever_a_query_is_it_is_refused_at_once_or_asked_of_every_host(query: Any) -> None:
    try:
        spec = asking(json.dumps(query))
    except Invalid:
        return
    assert set(fitting(spec, TABLE)) <= {"a", "b", "c"}


@pytest.mark.parametrize(
    ("hints", "kept"),
    [
        ({"build_near_host_ip": "10.0.0.77"}, "a"),
        ({"build_near_host_ip": "10.0.0.77", "cidr": "/23"}, "ab"),
        ({"build_near_host_ip": "10.0.0.77", "cidr": "/255.255.254.0"}, "ab"),
        ({"build_near_host_ip": "0.0.0.0", "cidr": "/0"}, "ab"),
        ({"build_near_host_ip": "fd00::1", "cidr": "/64"}, "c"),
        ({"build_near_host_ip": "fd00::1", "cidr": "/128"}, ""),
        ({"cidr": "/32"}, "abc"),
    ],
)
def test_near_an_address_are_the_hosts_of_its_network(hints: dict[str, str], kept: str) -> None:
    checked = scheduler_hints.checked(hints)
    assert fitting(replace(SMALL, near=scheduler_hints.near(checked)), TABLE) == list(kept)


def test_what_each_hint_did_is_told_of_a_choice() -> None:
    spec = replace(asking([">", "$vcpus_total", 2]), near=ip_network("10.0.0.0/24"))
    assert select(spec, TABLE, 0).heeded == ("hint build_near_host_ip: 1 of 3 hosts", "hint query: 2 of 3 hosts")
    assert select(SMALL, TABLE, 0).heeded == ()


@pytest.mark.parametrize(
    ("hints", "word"),
    [
        ({"group": "x"}, "group: 'x' is not a UUID"),
        ({"same_host": ["x"]}, "same_host: 'x' is not a UUID"),
        ({"query": 7}, "query cannot be read"),
        ({"query": '["=", "$x", 1]'}, "query cannot be read"),
        ({"build_near_host_ip": "here"}, "build_near_host_ip: 'here' is not an IP address"),
        ({"build_near_host_ip": 7}, "build_near_host_ip"),
        ({"build_near_host_ip": "10.0.0.1", "cidr": "/33"}, "cidr: '/33' is not the length"),
        ({"cidr": "24"}, "cidr: '24' is not the length"),
        ({"target_cell": ""}, "target_cell"),
        ({"anything": "x" * scheduler_hints.MAX_BYTES}, "16384 bytes"),
    ],
)
def test_a_hint_that_cannot_be_meant_is_refused_by_name(hints: dict[str, Any], word: str) -> None:
    with pytest.raises(Invalid) as found:
        scheduler_hints.checked(hints)
    assert word in found.value.message


def test_hints_that_do_nothing_are_named_and_all_are_shown_as_lists() -> None:
    hints = scheduler_hints.checked(
        {"query": "[]", "target_cell": "one", "cidr": "/24", "colour": ["red", 7], "same_host": None}
    )
    assert scheduler_hints.unheeded(hints) == [
        "hint cidr='/24'",
        "hint colour=\"['red', 7]\"",
        "hint target_cell='one'",
    ]
    assert scheduler_hints.told(hints) == {
        "query": ["[]"],
        "target_cell": ["one"],
        "cidr": ["/24"],
        "colour": ["red", "7"],
    }
    assert msgspec.json.decode(msgspec.json.encode(hints)) == hints
