"""Which DHCP options a port may have, and what a change makes of those it has."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floe.core.dhcp_options import LONGEST, MOST, form_of, merged, option_of
from floe.core.errors import Invalid


def test_what_is_asked_for_is_added_or_changed_and_by_null_taken_away() -> None:
    held = merged((), [("bootfile-name", "pxelinux.0"), ("150", "192.0.2.1"), ("router", "")])
    assert held == (("bootfile-name", "pxelinux.0"), ("150", "192.0.2.1"), ("router", ""))
    changed = merged(held, [("tftp-server-address", "192.0.2.2"), ("router", None), ("mtu", "1400"), ("66", None)])
    assert changed == (("bootfile-name", "pxelinux.0"), ("tftp-server-address", "192.0.2.2"), ("mtu", "1400"))
    assert merged(changed, []) == changed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nonsense", "x"), ("", "x"), ("0", "x"), ("255", "x"), ("-1", "x"), ("1e2", "x"), ("\u0661\u0665", "x"),
        ("mtu\n", "1400"), ("option:mtu", "1400"), ("54", "192.0.2.1"), ("61", "x"), ("message-type", "5"),
        ("mtu", ""), ("mtu", "70000"), ("mtu", "-1"), ("mtu", "1400 "), ("mtu", "1400,1"), ("ip-forward-enable", "256"),
        ("router", "nobody"), ("router", "192.0.2.1,"), ("router", "192.0.2.1, 192.0.2.2"), ("router", "fd00::1"),
        ("router", "192.0.2.01"), ("classless-static-route", "10.0.0.0/8"), ("121", "10.0.0.0/33,10.0.0.1"),
        ("domain-search", "a..b"), ("domain-search", "a b"), ("bootfile-name", ""), ("bootfile-name", "a\nb"),
        ("bootfile-name", "a\r"), ("bootfile-name", "\u2028"), ("bootfile-name", "tab\t"), ("bootfile-name", "\x00"),
        ("bootfile-name", "x" * (LONGEST + 1)), ("bootfile-name", "\u00e9"), ("224", "\x7f"),
    ],
)  # fmt: skip
def test_what_no_client_could_be_told_is_refused_by_name_and_value(name: str, value: str) -> None:
    with pytest.raises(Invalid, match="extra_dhcp_opts"):
        merged((), [(name, value)])


def test_an_option_is_given_once_by_whatever_name_and_no_port_has_too_many() -> None:
    with pytest.raises(Invalid, match="option 67 is given twice"):
        merged((), [("bootfile-name", "a"), ("67", "b")])
    many = [(str(number), "x") for number in range(200, 200 + MOST)]
    assert len(merged((), many)) == MOST
    with pytest.raises(Invalid, match=f"{MOST + 1} options.*at most {MOST}"):
        merged(merged((), many), [("190", "x")])


@given(name=st.text(max_size=70) | st.integers(-5, 300).map(str), value=st.text(max_size=300))
def test_what_is_taken_is_one_line_of_plain_characters(name: str, value: str) -> None:
    try:
        ((_, kept),) = merged((), [(name, value)])
    except Invalid:
        return
    assert kept == value
    assert re.fullmatch(r"[ -~]{0,255}", kept)
    assert form_of(option_of(name), kept) is not None
