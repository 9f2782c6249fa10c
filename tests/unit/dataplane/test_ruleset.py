"""Scripts that turn one ruleset into another."""

from __future__ import annotations

from floe.dataplane.linux import ruleset
from floe.dataplane.linux.ruleset import chain, named_map, named_set

TABLE = ("inet", "floe")
JUMPS = named_map("mark", "verdict", {"0x1": "jump a"})
OLD = {TABLE: {"jumps": JUMPS, "a": chain(["tcp dport 22 accept", "drop"])}}


def test_between_equals_there_is_nothing_to_do():
    assert ruleset.difference(OLD, dict(OLD)) == ""


def test_what_is_new_is_declared_before_it_is_used():
    new = {
        TABLE: {
            "jumps": named_map("mark", "verdict", {"0x1": "jump a", "0x2": "jump b"}),
            "a": OLD[TABLE]["a"],
            "b": chain(["ip saddr @s accept"]),
            "s": named_set("ipv4_addr", ["10.0.0.1"], "interval"),
        }
    }
    assert ruleset.difference(OLD, new).splitlines() == [
        "table inet floe {",
        "  chain b {",
        "  }",
        "  set s {",
        "    type ipv4_addr;",
        "    flags interval;",
        "  }",
        "}",
        "add rule inet floe b ip saddr @s accept",
        "add element inet floe s { 10.0.0.1 }",
        "add element inet floe jumps { 0x2 : jump b }",
    ]


def test_what_goes_is_deleted_when_nothing_refers_to_it():
    new = {TABLE: {"jumps": named_map("mark", "verdict", {})}}
    assert ruleset.difference(OLD, new).splitlines() == [
        "delete element inet floe jumps { 0x1 : jump a }",
        "flush chain inet floe a",
        "delete chain inet floe a",
    ]


def test_a_changed_chain_is_filled_anew():
    new = {TABLE: {"jumps": JUMPS, "a": chain(["drop"])}}
    assert ruleset.difference(OLD, new).splitlines() == ["flush chain inet floe a", "add rule inet floe a drop"]


def test_intervals_that_go_take_the_others_with_them():
    """A new interval may overlap an old one that is deleted in the same transaction."""
    old = {TABLE: {"s": named_set("ipv4_addr", ["10.0.0.0/31", "10.0.0.9"], "interval")}}
    new = {TABLE: {"s": named_set("ipv4_addr", ["10.0.0.0/30", "10.0.0.9"], "interval")}}
    assert ruleset.difference(old, new).splitlines() == [
        "flush set inet floe s",
        "add element inet floe s { 10.0.0.0/30, 10.0.0.9 }",
    ]


def test_the_first_and_the_last_network_are_loaded_whole():
    empty = {TABLE: {}}
    assert ruleset.difference(empty, OLD) == ruleset.whole(OLD)
    assert ruleset.difference({}, OLD) == ruleset.whole(OLD)
    assert ruleset.difference(OLD, empty) == ruleset.removal([TABLE]) + "\n"


def test_one_member_more_or_less_is_one_element():
    members = [f"10.0.{n // 250}.{n % 250}" for n in range(5000)]
    for flags in ("", "interval"):
        old = {TABLE: {"s": ruleset.named_set("ipv4_addr", members, flags)}}
        new = {TABLE: {"s": ruleset.named_set("ipv4_addr", [*members[1:], "10.9.0.1"], flags)}}
        assert ruleset.difference(old, new).splitlines() == [
            f"delete element {' '.join(TABLE)} s {{ 10.0.0.0 }}",
            f"add element {' '.join(TABLE)} s {{ 10.9.0.1 }}",
        ]
