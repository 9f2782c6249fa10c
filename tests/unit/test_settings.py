from __future__ import annotations

from pathlib import Path

import pytest

from floe.assembly import hosts
from floe.core.errors import Invalid
from floe.core.networks import PUBLIC
from floe.dataplane.linux.machine import NOWHERE, Machine
from floe.settings import Settings, load


def test_flags_win_over_environment_and_environment_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "floe.toml"
    file.write_text('fake_hosts = 2\nregion = "File"\nhypervisor = "fake"\n')
    found = load({"fake_hosts": "4"}, {"FLOE_FAKE_HOSTS": "3", "FLOE_REGION": "Env", "HOME": "/x"}, file)
    assert (found.fake_hosts, found.region, found.hypervisor) == (4, "Env", "fake")


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "floe.toml"
    file.write_text("sandbox = true\n")
    assert load({}, {"FLOE_CONFIG": str(file)}).sandbox is True


@pytest.mark.parametrize(
    ("environment", "text", "says"),
    [
        ({"FLOE_FAKE_HOST": "3"}, "", "FLOE_FAKE_HOST.*no setting 'fake_host'"),
        ({}, "fake_host = 3\n", "no setting 'fake_host'"),
        ({}, 'fake_hosts = "3"\n', "must be a whole number"),
        ({}, "fake_hosts = true\n", "must be a whole number"),
        ({}, "fake_hosts =\n", "not valid TOML"),
        ({"FLOE_SANDBOX": "perhaps"}, "", "must be true or false"),
        ({"FLOE_FAKE_HOSTS": "0"}, "", "between 1 and 10000"),
        ({"FLOE_LISTEN": "8774"}, "", "HOST:PORT"),
        ({"FLOE_LISTEN": "127.0.0.1:99999"}, "", "HOST:PORT"),
        ({"FLOE_FIRST_GUEST_UID": "9999"}, "", "first_guest_uid must be between 10000 and 4294950910 .it is 9999"),
        ({}, "first_guest_uid = 4294950911\n", "first_guest_uid must be between"),
        ({"FLOE_HYPERVISOR": "xen"}, "", "auto, libvirt, fake"),
    ],
)
def test_an_unknown_key_or_a_wrong_value_is_refused_by_name(
    tmp_path: Path, environment: dict[str, str], text: str, says: str
) -> None:
    file = tmp_path / "floe.toml"
    file.write_text(text)
    with pytest.raises(Invalid, match=says):
        load({}, environment, file)


def test_a_file_that_is_not_there_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"none\.toml"):
        load({}, {}, tmp_path / "none.toml")


def test_guests_have_ids_up_to_the_last_that_a_user_can_have() -> None:
    found = load({"first_guest_uid": "4294950910"}, {})
    assert (found.guest_uids()[0], found.guest_uids()[-1]) == (4_294_950_910, 2**32 - 3)


def test_an_address_may_be_ipv6() -> None:
    assert Settings(listen="[::1]:8774").address() == ("::1", 8774)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"reclaim_instance_interval": "-1"},
            "reclaim_instance_interval must be between 0 and 3153600000 (it is -1).",
        ),
        ({"history_days": "-1"}, "history_days must be between 0 and 36500 (it is -1)."),
        ({"history_days": "1e9"}, "history_days must be between 0 and 36500 (it is 1e+09)."),
        ({"history_days": "nan"}, "history_days must be between 0 and 36500 (it is nan)."),
        (
            {"trusted_image_certificates": "ca"},
            "trusted_image_certificates holds 'ca', which is not the UUID of a certificate.",
        ),
        ({"usage_days": "30"}, "usage_days must be 0, or at least history_days (they are 30 and 90)."),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(Invalid) as found:
        load(given, {})
    assert found.value.message == told


def test_history_and_use_may_be_kept_for_ever_or_for_part_of_a_day() -> None:
    kept = load({"history_days": "0", "usage_days": "0"}, {})
    assert (kept.history_days, kept.usage_days) == (0.0, 0.0)
    assert load({"history_days": "0.5"}, {}).history_days == 0.5


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"bus_config": "/x"}, "bus_config needs bus_members"),
        ({"bus_reload": "true"}, "bus_reload is what follows a change of bus_config"),
        ({"bus_config": "/x", "bus_members": "/y", "bus_reload": "a 'b"}, "bus_reload must be a command"),
        ({"join_bus": "10.0.0.1"}, "join_bus must be servers like nats://"),
    ],
)
def test_what_keeps_the_buss_file_makes_sense_together(given: dict[str, str], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        load(given, {})


def test_the_command_that_tells_the_bus_is_taken_apart_as_a_shell_would() -> None:
    given = {"bus_config": "/x", "bus_members": "/y", "bus_reload": "sudo -n reload 'the bus'"}
    assert load(given, {}).reload_command() == ("sudo", "-n", "reload", "the bus")
    assert load({}, {}).reload_command() == ()


def test_the_machine_has_the_outsides_gateway_only_where_it_is_the_outside() -> None:
    """A bridge or an interface leads to a real network, whose gateway is somebody else's."""
    for device in ("br-lan", "eth1"):
        assert hosts._outside(Settings(external=device)) == ({PUBLIC: device}, NOWHERE)
    assert hosts._outside(Settings()) == ({}, NOWHERE)
    for settings, forwards in ((Settings(external="host"), True), (Settings(sandbox=True), False)):
        assert hosts._outside(settings) == ({}, Machine(addresses={PUBLIC: "172.24.4.1/24"}, forwards=forwards))
