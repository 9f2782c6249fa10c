"""`floe why-not` as it is drawn, and what may be asked of it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from floe.cli.why_not import picture
from floe.core.errors import Invalid
from floe.core.packets.asking import Question, read_question

IDENT = "11111111-1111-4111-8111-111111111111"


def step(mark: str, **more: Any) -> dict[str, Any]:
    plain = {"kind": "server", "id": IDENT, "name": "web", "text": "is active", "rule": None, "remedy": None}
    return {"mark": mark, **plain, **more}


def drawn(width: int, verdict: str, *steps: dict[str, Any], packet: Any = None) -> list[str]:
    out = io.StringIO()
    found = {"verdict": verdict, "packet": packet, "steps": steps}
    Console(file=out, width=width, highlight=False, markup=False).print(picture(found))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120, 300])
def test_the_way_is_drawn_as_a_chain_down_to_where_it_ends(width: int) -> None:
    packet = {"protocol": "tcp", "port": 22, "source": "172.24.4.1", "target": "172.24.4.50"}
    stop = step("stops", kind="security_group", text="no rule admits it", rule=IDENT)
    lines = drawn(width, "stops", step("passes"), step("beware", id=None), stop, packet=packet)
    assert lines[0] == "tcp 22 from 172.24.4.1 to 172.24.4.50: does not pass"
    assert [line[0] for line in lines[1:]] == ["✓", "│", "!", "✗", " "]
    assert lines[4].startswith("✗ security group web")
    assert f"rule {IDENT}" in lines[5]


def test_what_users_named_does_nothing_to_a_terminal() -> None:
    lines = drawn(120, "passes", step("passes", name="[red]\x1b[31m\nx", text="\x1b]0;a\x07"))
    assert "[red]?[31m?x" in lines[1]
    assert not [line for line in lines if "\x1b" in line or "\x07" in line]
    assert lines[0] == "no packet can be sent"


def test_what_is_asked_is_read() -> None:
    assert read_question("s", "22") == Question(server_id="s", port=22)
    assert read_question("s", None, "ICMP", "10.0.0.1") == Question(
        server_id="s", protocol="icmp", source_address="10.0.0.1"
    )
    assert read_question("s", "53", "udp", IDENT, "10.0.0.9").source_id == IDENT


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((None,), "port"),
        (("65536",), "'65536' must be a number from 1 to 65535"),
        (("٣",), "port"),
        (("22", "sctp"), "protocol: 'sctp' must be one of tcp, udp, icmp"),
        (("22", "icmp"), "icmp has none"),
        (("22", "tcp", "fe80::1"), "not of IPv4"),
        (("22", "tcp", None, "x" * 100), "is no IPv4 address"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(words: Any, said: str) -> None:
    with pytest.raises(Invalid, match=r".{1,160}$") as refused:
        read_question("s", *words)
    assert said in refused.value.message
