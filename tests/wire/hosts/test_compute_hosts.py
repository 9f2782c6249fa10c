"""Hypervisors, services, zones and instance actions as Nova's clients see them, at the versions that changed them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from floe.agent import host_uptime
from floe.cloud.cloud import Cloud
from floe.core.actions import Step
from floe.core.errors import HostFailure
from floe.core.host_uptime import told
from floe.core.hosts import host_id, service_id
from floe.store import actions, conductors, hosts

SERVER = "11111111-1111-4111-8111-111111111111"
PROJECT = "a" * 32
ALPHA, BETA = host_id("alpha"), host_id("beta")
V = "/compute/v2.1"
UPTIME = " 12:00:00 up 3 days,  4:05,  1 user,  load average: 0.10, 0.20, 0.30"

BRIEF = {"hypervisor_hostname": "alpha", "state": "up", "status": "enabled"}
OLD_DETAIL = {
    **BRIEF,
    "hypervisor_type": "QEMU",
    "hypervisor_version": 9000000,
    "host_ip": "192.0.2.1",
    "vcpus": 8,
    "vcpus_used": 2,
    "memory_mb": 4096,
    "memory_mb_used": 1536,
    "free_ram_mb": 2560,
    "local_gb": 100,
    "local_gb_used": 10,
    "free_disk_gb": 90,
    "disk_available_least": None,
    "running_vms": 1,
    "current_workload": 0,
    "cpu_info": {"arch": "x86_64", "model": "qemu64", "vendor": "AMD", "features": ["avx", "sse"]},
}


async def test_hypervisors_have_numbers_before_2_53_and_uuids_from_then_on(call: Any) -> None:
    old = (await call(f"{V}/os-hypervisors", "2.52")).json()["hypervisors"]
    assert old[0] == {"id": 1, **BRIEF}
    new = (await call(f"{V}/os-hypervisors", "2.53")).json()["hypervisors"]
    assert new[0] == {"id": ALPHA, **BRIEF}


async def test_a_hypervisor_shows_amounts_until_2_87(call: Any) -> None:
    old = (await call(f"{V}/os-hypervisors/1", "2.28")).json()["hypervisor"]
    assert old == {"id": 1, **OLD_DETAIL, "service": {"host": "alpha", "id": 1, "disabled_reason": None}}
    text = (await call(f"{V}/os-hypervisors/1", "2.27")).json()["hypervisor"]["cpu_info"]
    assert text == '{"arch":"x86_64","model":"qemu64","vendor":"AMD","features":["avx","sse"]}'
    service = {"host": "alpha", "id": service_id("alpha"), "disabled_reason": None}
    middle = (await call(f"{V}/os-hypervisors/{ALPHA}", "2.87")).json()["hypervisor"]
    assert middle == {"id": ALPHA, **OLD_DETAIL, "service": service}
    new = (await call(f"{V}/os-hypervisors/{ALPHA}", "2.88")).json()["hypervisor"]
    assert new == {
        "id": ALPHA,
        **BRIEF,
        "hypervisor_type": "QEMU",
        "hypervisor_version": 9000000,
        "host_ip": "192.0.2.1",
        "service": service,
        "uptime": UPTIME,
    }
    detail = (await call(f"{V}/os-hypervisors/detail", "2.88")).json()["hypervisors"]
    assert [each["uptime"] for each in detail] == [UPTIME, None]


async def test_servers_of_hypervisors_are_shown_on_request(call: Any) -> None:
    new = (await call(f"{V}/os-hypervisors?with_servers=true", "2.75")).json()["hypervisors"]
    assert [each["servers"] for each in new] == [[{"uuid": SERVER, "name": "instance-00000001"}], []]
    old = (await call(f"{V}/os-hypervisors?with_servers=true", "2.53")).json()["hypervisors"]
    assert "servers" not in old[1]
    by_name = (await call(f"{V}/os-hypervisors/alp/servers", "2.52")).json()["hypervisors"]
    assert by_name[0]["servers"][0]["uuid"] == SERVER
    assert (await call(f"{V}/os-hypervisors/alp/servers", "2.53")).status_code == 404


async def test_hypervisors_come_in_pages_and_by_pattern(call: Any) -> None:
    page = (await call(f"{V}/os-hypervisors?limit=1", "2.53")).json()
    assert [each["id"] for each in page["hypervisors"]] == [ALPHA]
    assert page["hypervisors_links"][0]["href"].endswith(f"/v2.1/os-hypervisors?limit=1&marker={ALPHA}")
    rest = (await call(f"{V}/os-hypervisors?limit=1&marker={ALPHA}", "2.53")).json()
    assert [each["id"] for each in rest["hypervisors"]] == [BETA]
    found = (await call(f"{V}/os-hypervisors?hypervisor_hostname_pattern=bet", "2.53")).json()["hypervisors"]
    assert [each["id"] for each in found] == [BETA]
    assert (await call(f"{V}/os-hypervisors?hypervisor_hostname_pattern=x", "2.53")).status_code == 404
    assert (await call(f"{V}/os-hypervisors/1", "2.53")).status_code == 400
    assert (await call(f"{V}/os-hypervisors/7", "2.52")).status_code == 404


async def test_an_uptime_is_asked_for_until_2_87(call: Any) -> None:
    assert (await call(f"{V}/os-hypervisors/1/uptime", "2.52")).json()["hypervisor"] == {
        "id": 1,
        **BRIEF,
        "uptime": UPTIME,
    }
    new = (await call(f"{V}/os-hypervisors/{ALPHA}/uptime", "2.87")).json()["hypervisor"]
    assert new == {"id": ALPHA, **BRIEF, "uptime": UPTIME}
    assert (await call(f"{V}/os-hypervisors/{ALPHA}/uptime", "2.88")).status_code == 404
    assert (await call(f"{V}/os-hypervisors/7/uptime", "2.52")).status_code == 404
    silent = await call(f"{V}/os-hypervisors/2/uptime", "2.52")
    assert (silent.status_code, "Compute service of beta is unavailable" in silent.text) == (400, True)


async def test_statistics_are_sums(call: Any) -> None:
    sums = (await call(f"{V}/os-hypervisors/statistics", "2.87")).json()["hypervisor_statistics"]
    assert (sums["count"], sums["vcpus"], sums["memory_mb_used"], sums["running_vms"]) == (2, 16, 2048, 1)
    assert (await call(f"{V}/os-hypervisors/statistics", "2.88")).status_code == 404


@pytest.mark.parametrize("path", ["os-hypervisors", "os-services", "os-availability-zone/detail"])
async def test_hosts_are_for_administrators(call: Any, path: str) -> None:
    assert (await call(f"{V}/{path}", who="ann")).status_code == 403


async def test_zones_are_for_everybody_and_their_hosts_for_administrators(call: Any) -> None:
    plain = (await call(f"{V}/os-availability-zone", who="ann")).json()["availabilityZoneInfo"]
    assert plain == [
        {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None},
        {"zoneName": "west", "zoneState": {"available": True}, "hosts": None},
    ]
    detail = (await call(f"{V}/os-availability-zone/detail")).json()["availabilityZoneInfo"]
    assert detail[0]["hosts"] == {
        "alpha": {"nova-compute": {"active": True, "available": True, "updated_at": "2030-01-01T00:00:00.000000"}}
    }


async def test_a_service_is_disabled_with_a_reason_and_enabled_again(call: Any) -> None:
    path = f"{V}/os-services/{service_id('alpha')}"
    body = {"status": "disabled", "disabled_reason": "new disks"}
    service = (await call(path, "2.53", method="PUT", json=body)).json()["service"]
    assert service == {
        "id": service_id("alpha"),
        "binary": "nova-compute",
        "host": "alpha",
        "zone": "nova",
        "status": "disabled",
        "state": "up",
        "updated_at": "2030-01-01T00:00:00.000000",
        "disabled_reason": "new disks",
        "forced_down": False,
    }
    again = (await call(path, "2.53", method="PUT", json={"status": "enabled"})).json()["service"]
    assert (again["status"], again["disabled_reason"]) == ("enabled", None)
    down = (await call(path, "2.53", method="PUT", json={"forced_down": True})).json()["service"]
    assert (down["state"], down["forced_down"]) == ("down", True)
    assert (await call(path, "2.53", method="PUT", json={})).status_code == 400
    assert (await call(path, "2.53", method="PUT", json={"status": "off"})).status_code == 400
    assert (await call(f"{V}/os-services/{ALPHA}", "2.53", method="PUT", json=body)).status_code == 404


async def test_before_2_53_a_service_is_named_by_host_and_binary(call: Any) -> None:
    body = {"host": "beta", "binary": "nova-compute", "disabled_reason": "moved"}
    reply = await call(f"{V}/os-services/disable-log-reason", "2.10", method="PUT", json=body)
    assert reply.json() == {"service": {**body, "status": "disabled"}}
    listed = (await call(f"{V}/os-services?host=beta", "2.10")).json()["services"]
    assert listed == [
        {
            "id": 2,
            "binary": "nova-compute",
            "host": "beta",
            "zone": "west",
            "status": "disabled",
            "state": "up",
            "updated_at": "2030-01-01T00:00:00.000000",
            "disabled_reason": "moved",
        }
    ]
    force = {"host": "beta", "binary": "nova-compute", "forced_down": True}
    assert (await call(f"{V}/os-services/force-down", "2.10", method="PUT", json=force)).status_code == 404
    assert (await call(f"{V}/os-services/force-down", "2.11", method="PUT", json=force)).status_code == 200
    gone = {"host": "gamma", "binary": "nova-compute"}
    assert (await call(f"{V}/os-services/enable", "2.10", method="PUT", json=gone)).status_code == 404


async def test_a_host_with_servers_or_one_that_is_up_is_not_forgotten(call: Any) -> None:
    assert (await call(f"{V}/os-services/{service_id('alpha')}", "2.53", method="DELETE")).status_code == 409
    beta = f"{V}/os-services/{service_id('beta')}"
    assert (await call(beta, "2.53", method="DELETE")).status_code == 409
    await call(beta, "2.53", method="PUT", json={"forced_down": True})
    assert (await call(beta, "2.53", method="DELETE")).status_code == 204
    assert len((await call(f"{V}/os-hypervisors", "2.53")).json()["hypervisors"]) == 1


async def test_actions_are_listed_the_latest_first(call: Any) -> None:
    path = f"{V}/servers/{SERVER}/os-instance-actions"
    old = (await call(path, "2.57", who="ann")).json()["instanceActions"]
    assert [each["request_id"] for each in old] == ["req-1", "req-0"]
    assert old[1] == {
        "action": "create",
        "instance_uuid": SERVER,
        "request_id": "req-0",
        "user_id": "ann",
        "project_id": "a" * 32,
        "start_time": "2030-01-01T00:00:00.000000",
        "message": None,
    }
    page = (await call(f"{path}?limit=1", "2.58", who="ann")).json()
    assert page["instanceActions"][0]["updated_at"] == "2030-01-01T00:00:11.000000"
    assert page["links"][0]["href"].endswith("?limit=1&marker=req-1")
    rest = (await call(f"{path}?marker=req-1", "2.58", who="ann")).json()
    assert [each["request_id"] for each in rest["instanceActions"]] == ["req-0"]
    since = (await call(f"{path}?changes-since=2030-01-01T00:00:10.5", "2.58", who="ann")).json()
    assert [each["request_id"] for each in since["instanceActions"]] == ["req-1"]
    assert (await call(f"{path}?changes-since=soon", "2.58")).status_code == 400
    assert (await call(path, who="bob")).status_code == 404


async def test_an_actions_events_are_its_steps(call: Any) -> None:
    path = f"{V}/servers/{SERVER}/os-instance-actions/req-1"
    assert "events" not in (await call(path, "2.50", who="ann")).json()["instanceAction"]
    plain = (await call(path, "2.51", who="ann")).json()["instanceAction"]["events"]
    assert plain[1] == {
        "event": "spawn",
        "start_time": "2030-01-01T00:00:01.000000",
        "finish_time": "2030-01-01T00:00:02.000000",
        "result": "Error",
    }
    user = (await call(path, "2.84", who="ann")).json()["instanceAction"]["events"]
    assert "details" not in user[1], "what a step found is for administrators; a user sees the action's message"
    assert (await call(path, "2.84", who="ann")).json()["instanceAction"]["message"] == "The disk is full."
    assert "host" not in user[1]
    assert "/dev/x" not in str(user)
    assert len({user[0]["hostId"], user[1]["hostId"]}) == 2, "each event tells apart the host it was on"
    assert all(len(event["hostId"]) == 56 for event in user)
    admin = (await call(path, "2.84")).json()["instanceAction"]["events"]
    assert (admin[1]["host"], admin[1]["traceback"], admin[1]["details"]) == ("beta", "/dev/x", "The disk is full.")
    open_step = (await call(path.replace("req-1", "req-0"), "2.51")).json()["instanceAction"]["events"][1]
    assert (open_step["result"], open_step["finish_time"]) == (None, None)
    assert (await call(path.replace("req-1", "req-9"), "2.51")).status_code == 404


async def test_an_event_on_no_host_has_an_empty_one(call: Any, cloud: Cloud) -> None:
    now = cloud.clock.now()
    step = Step(action_id="act-0", seq=3, name="gone", state="done", started_at=now, finished_at=now)
    await cloud.db.write(lambda conn: actions.write_steps(conn, [step]))
    path = f"{V}/servers/{SERVER}/os-instance-actions/req-0"
    events = (await call(path, "2.62")).json()["instanceAction"]["events"]
    assert [(event["host"], event["hostId"]) for event in events if event["event"] == "gone"] == [("", "")]


async def test_a_trace_says_to_the_user_what_each_step_found(call: Any) -> None:
    path = f"/floe/v1/servers/{SERVER}/trace"
    (latest,) = (await call(path, who="ann")).json()["actions"]
    assert (latest["action"], latest["message"]) == ("delete", "The disk is full.")
    assert [event["details"] for event in latest["events"]] == ["2 of 2 hosts looked at fit", "The disk is full."]
    assert "host" not in latest["events"][0]
    whole = (await call(f"{path}?limit=5")).json()["actions"]
    assert [action["request_id"] for action in whole] == ["req-0", "req-1"]
    assert whole[1]["events"][1]["host"] == "beta"
    assert (await call(path, who="bob")).status_code == 404
    assert (await call(f"{path}?limit=0", who="ann")).status_code == 400


CONDUCTOR = "ctl"


@pytest.fixture
async def with_conductor(cloud: Cloud) -> Cloud:
    """Give the cloud with a conductor that lives."""
    await cloud.db.write(lambda conn: conductors.put(conn, CONDUCTOR, cloud.clock.now()))
    return cloud


async def test_a_conductor_is_two_services_in_the_zone_internal(call: Any, with_conductor: Cloud) -> None:
    shared = {
        "host": CONDUCTOR,
        "zone": "internal",
        "status": "enabled",
        "state": "up",
        "updated_at": "2030-01-01T00:00:00.000000",
        "disabled_reason": None,
    }
    for version, more in (("2.10", {}), ("2.11", {"forced_down": False})):
        found = (await call(f"{V}/os-services", version)).json()["services"]
        assert [each["binary"] for each in found] == [
            "nova-scheduler",
            "nova-conductor",
            "nova-compute",
            "nova-compute",
        ]
        assert len({each["id"] for each in found}) == 4
        assert found[0] == {"id": found[0]["id"], "binary": "nova-scheduler", **shared, **more}
    numbers = [each["id"] for each in (await call(f"{V}/os-services", "2.52")).json()["services"]]
    assert all(isinstance(number, int) for number in numbers)
    uuids = [each["id"] for each in (await call(f"{V}/os-services", "2.53")).json()["services"]]
    assert uuids[:2] == [service_id(CONDUCTOR, "nova-scheduler"), service_id(CONDUCTOR, "nova-conductor")]


@pytest.mark.parametrize(
    ("query", "binaries"),
    [
        ("binary=nova-scheduler", ["nova-scheduler"]),
        ("binary=nova-compute", ["nova-compute", "nova-compute"]),
        (f"host={CONDUCTOR}", ["nova-scheduler", "nova-conductor"]),
        (f"host={CONDUCTOR}&binary=nova-compute", []),
        ("binary=", ["nova-scheduler", "nova-conductor", "nova-compute", "nova-compute"]),
        ("host=nowhere", []),
    ],
)
async def test_services_are_found_by_host_and_binary(
    call: Any, with_conductor: Cloud, query: str, binaries: list[str]
) -> None:
    found = (await call(f"{V}/os-services?{query}", "2.96")).json()["services"]
    assert [each["binary"] for each in found] == binaries


async def test_only_compute_services_are_updated(call: Any, with_conductor: Cloud) -> None:
    path = f"{V}/os-services/{service_id(CONDUCTOR, 'nova-scheduler')}"
    reply = await call(path, "2.53", method="PUT", json={"status": "disabled"})
    assert reply.status_code == 400
    assert "Only nova-compute" in reply.json()["badRequest"]["message"]
    body = {"host": CONDUCTOR, "binary": "nova-conductor"}
    assert (await call(f"{V}/os-services/disable", "2.52", method="PUT", json=body)).status_code == 400


async def test_a_conductor_that_stopped_or_is_silent_is_down_and_can_be_forgotten(
    call: Any, with_conductor: Cloud
) -> None:
    path = f"{V}/os-services/{service_id(CONDUCTOR, 'nova-conductor')}"
    assert (await call(path, "2.53", method="DELETE")).status_code == 409
    now = with_conductor.clock.now()

    async def states() -> set[str]:
        found = (await call(f"{V}/os-services?host={CONDUCTOR}", "2.53")).json()["services"]
        return {each["state"] for each in found}

    await with_conductor.db.write(lambda conn: conductors.seen(conn, CONDUCTOR, now, connected=False))
    assert await states() == {"down"}
    await with_conductor.db.write(lambda conn: conductors.seen(conn, CONDUCTOR, now))
    assert await states() == {"up"}
    with_conductor.clock.advance(61)  # type: ignore[attr-defined]
    assert await states() == {"down"}
    assert (await call(path, "2.53", method="DELETE")).status_code == 204
    assert await states() == set()
    assert (await call(path, "2.53", method="DELETE")).status_code == 404


async def test_the_zone_internal_is_shown_to_administrators_alone(call: Any, with_conductor: Cloud) -> None:
    detail = (await call(f"{V}/os-availability-zone/detail")).json()["availabilityZoneInfo"]
    role = {"active": True, "available": True, "updated_at": "2030-01-01T00:00:00.000000"}
    assert detail[0] == {
        "zoneName": "internal",
        "zoneState": {"available": True},
        "hosts": {CONDUCTOR: {"nova-scheduler": role, "nova-conductor": role}},
    }
    assert [zone["zoneName"] for zone in detail] == ["internal", "nova", "west"]
    plain = (await call(f"{V}/os-availability-zone", who="ann")).json()["availabilityZoneInfo"]
    assert [zone["zoneName"] for zone in plain] == ["nova", "west"]


@pytest.mark.parametrize(
    ("seconds", "users", "text"),
    [
        (59, 0, " 12:34:56 up 0 min,  0 users,  load average: 0.10, 0.20, 0.30"),
        (4 * 3600 + 5 * 60, 1, " 12:34:56 up  4:05,  1 user,  load average: 0.10, 0.20, 0.30"),
        (86400 + 60, 2, " 12:34:56 up 1 day, 1 min,  2 users,  load average: 0.10, 0.20, 0.30"),
        (20 * 86400 + 11 * 3600, 0, " 12:34:56 up 20 days, 11:00,  0 users,  load average: 0.10, 0.20, 0.30"),
    ],
)
def test_an_uptime_is_said_as_procps_says_it(seconds: int, users: int, text: str) -> None:
    assert told(datetime(2026, 1, 1, 12, 34, 56, tzinfo=UTC), seconds, users, ("0.10", "0.20", "0.30")) == text


def test_a_machine_that_does_not_say_is_a_failure_of_the_host(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="does not say"):
        host_uptime.read(tmp_path)
    (tmp_path / "uptime").write_text("300000.25 1.0\n")
    (tmp_path / "loadavg").write_text("0.10 0.20 0.30 1/100 7\n")
    (tmp_path / "utmp").write_bytes(b"".join(bytes((kind, 0)) + bytes(382) for kind in (2, 7, 7, 8)) + b"\7\0")
    said = host_uptime.read(tmp_path, tmp_path / "utmp")
    assert said.endswith("up 3 days, 11:20,  2 users,  load average: 0.10, 0.20, 0.30")


@pytest.mark.parametrize(
    ("before", "begin", "end"),
    [
        ("2016-12-10 13:59:59.999999", "2016-11-01 00:00:00", "2016-12-01 00:00:00"),
        ("2016-12-01 00:00:00.000001", "2016-11-01 00:00:00", "2016-12-01 00:00:00"),
        ("2016-12-01 00:00:00", "2016-10-01 00:00:00", "2016-11-01 00:00:00"),
        ("2017-01-31 12:00:00", "2016-12-01 00:00:00", "2017-01-01 00:00:00"),
        ("2017-01-01 00:00:00", "2016-11-01 00:00:00", "2016-12-01 00:00:00"),
        *((wrong, None, None) for wrong in ("0001-01-31 00:00:00", "2017-13-01 00:00:00", "2017-01-01", "now", "%00")),
    ],
)
async def test_no_host_has_announced_the_month_that_had_ended(call: Any, before: str, begin: str, end: str) -> None:
    """Nova's answer where nobody told hosts to: the periods are Nova's, and every host is one that has not done it."""
    reply = await call(f"{V}/os-instance_usage_audit_log/{before}")
    assert reply.status_code == (200 if begin else 400)
    if begin:
        log = reply.json()["instance_usage_audit_log"]
        assert (log["period_beginning"], log["period_ending"]) == (begin, end)
        assert (log["num_hosts"], log["hosts_not_run"], log["log"]) == (2, ["alpha", "beta"], {})
        assert log["overall_status"] == "0 of 2 hosts done. 0 errors."
    refused = await call(f"{V}/os-instance_usage_audit_log/{before}", who="ann")
    assert refused.status_code == 403


async def test_until_2_42_hosts_are_listed_and_say_who_took_what(call: Any, with_conductor: Cloud) -> None:
    every = (await call(f"{V}/os-hosts", "2.42")).json()["hosts"]
    assert every == [
        {"host_name": "alpha", "service": "compute", "zone": "nova"},
        {"host_name": "beta", "service": "compute", "zone": "west"},
        {"host_name": CONDUCTOR, "service": "scheduler", "zone": "internal"},
        {"host_name": CONDUCTOR, "service": "conductor", "zone": "internal"},
    ]
    assert (await call(f"{V}/os-hosts?zone=west")).json()["hosts"] == every[1:2]
    assert (await call(f"{V}/os-hosts?zone=")).json()["hosts"] == every
    assert (await call(f"{V}/os-hosts?zone=nowhere")).json()["hosts"] == []
    await with_conductor.db.write(lambda conn: hosts.change(conn, "beta", with_conductor.clock.now(), enabled=False))
    assert (await call(f"{V}/os-hosts")).json()["hosts"] == [every[0], *every[2:]]
    rows = [each["resource"] for each in (await call(f"{V}/os-hosts/alpha", "2.42")).json()["host"]]
    assert {each.pop("host") for each in rows} == {"alpha"}
    assert rows == [
        {"project": "(total)", "cpu": 8, "memory_mb": 4096, "disk_gb": 100},
        {"project": "(used_now)", "cpu": 2, "memory_mb": 1536, "disk_gb": 10},
        {"project": "(used_max)", "cpu": 2, "memory_mb": 1024, "disk_gb": 10},
        {"project": PROJECT, "cpu": 2, "memory_mb": 1024, "disk_gb": 10},
    ]
    assert [each["resource"]["cpu"] for each in (await call(f"{V}/os-hosts/beta")).json()["host"]] == [8, 0, 0]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "", None, 200),
        ("GET", "/alpha", None, 200),
        ("GET", "/nope", None, 404),
        ("PUT", "/alpha", {"status": "enable"}, 501),
        ("PUT", "/alpha", {"maintenance_mode": "disable"}, 501),
        ("PUT", "/alpha", {"status": "off"}, 400),
        ("PUT", "/alpha", {}, 400),
        ("PUT", "/nope", {"status": "enable"}, 404),
        *(("GET", f"/{name}/{do}", None, status) for name, status in (("alpha", 501), ("nope", 404))
          for do in ("startup", "shutdown", "reboot")),
    ],
)  # fmt: skip
async def test_hosts_of_old_are_for_administrators_to_read(
    call: Any, method: str, path: str, body: Any, status: int
) -> None:
    """And a machine is neither enabled nor turned off here, as with Nova and libvirt; from 2.43 on it is gone."""
    at = f"{V}/os-hosts{path}"
    assert (await call(at, "2.42", method=method, json=body)).status_code == status
    assert (await call(at, "2.42", method=method, json=body, who="ann")).status_code == 403
    assert (await call(at, "2.43", method=method, json=body)).status_code == 404
