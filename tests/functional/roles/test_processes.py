"""One API, two conductors and three agents, each a process: they find each other, and outlive each other's deaths."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from nats_server import NatsServer, nats_server
from postgres_server import PostgresServer
from role_processes import RoleProcess, Roles, role_processes, until

IMAGE = {"disk_format": "raw", "container_format": "bare", "name": "tiny", "visibility": "private"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def roles(tmp_path: Path, server: NatsServer, database: str) -> Iterator[Roles]:
    with role_processes(tmp_path, server.url, database) as roles:
        yield roles


def cloud(roles: Roles, *flags: str) -> tuple[RoleProcess, list[RoleProcess], list[RoleProcess]]:
    """Start all at once, as a machine does that boots: none may need another to be there first."""
    agents = [roles.start("agent", name, *flags) for name in ("h1", "h2", "h3")]
    api = roles.start("api")
    conductors = [roles.start("conductor", name) for name in ("1", "2")]
    for process in roles.all:
        process.ready()
    for conductor in conductors:
        until(lambda: conductor.healthz()[1].get("hosts") == "ok", lambda: conductor.log)  # noqa: B023
    return api, conductors, agents


def image(http: httpx.Client) -> str:
    made = http.post("/image/v2/images", json=IMAGE).json()
    data = {"content-type": "application/octet-stream"}
    put = http.put(f"/image/v2/images/{made['id']}/file", content=b"x" * 4096, headers=data)
    assert put.status_code == 204, put.text
    return str(made["id"])


def create(http: httpx.Client, image_id: str, name: str) -> str:
    body = {"name": name, "imageRef": image_id, "flavorRef": "1", "networks": "auto"}
    reply = http.post("/compute/v2.1/servers", json={"server": body})
    assert reply.status_code == 202, reply.text
    return str(reply.json()["server"]["id"])


def states(http: httpx.Client) -> Counter[str]:
    servers = http.get("/compute/v2.1/servers/detail").json()["servers"]
    return Counter(server["status"] for server in servers)


def journals(roles: Roles) -> Counter[tuple[str, str]]:
    """Return how often each step of each action stands in the journals."""
    rows = roles.rows("SELECT action_id, name FROM action_steps WHERE parent IS NULL AND state = 'done'")
    return Counter((action, step) for action, step in rows)


def test_what_one_process_is_asked_for_the_others_do(roles: Roles) -> None:
    api, conductors, _ = cloud(roles)
    with roles.client(api) as http:
        image_id = image(http)
        made = [create(http, image_id, f"s{number}") for number in range(9)]
        until(lambda: states(http) == {"ACTIVE": 9}, lambda: states(http))
        for ident in made:
            assert http.delete(f"/compute/v2.1/servers/{ident}").status_code == 204
        until(lambda: not states(http), lambda: states(http))
    with roles.client(api, "admin") as admin:
        services = admin.get("/compute/v2.1/os-services").json()["services"]
        up = Counter((service["binary"], service["state"]) for service in services)
        assert (up["nova-conductor", "up"], up["nova-compute", "up"]) == (2, 3)
    twice = {step: times for step, times in journals(roles).items() if times > 1}
    assert not twice
    for process in roles.all:
        assert process.healthz()[0] == 200, process.healthz()
        assert "floe_http_requests" in httpx.get(f"{process.url}/metrics").text
    assert [process.stop() for process in roles.all] == [0] * 6
    assert [conductor.log.count("Traceback") for conductor in conductors] == [0, 0]


def test_what_a_killed_conductor_had_in_hand_the_other_goes_on_with(roles: Roles) -> None:
    api, conductors, agents = cloud(roles, "--fake-delay", "3")
    with roles.client(api) as http:
        image_id = image(http)
        made = [create(http, image_id, f"s{number}") for number in range(8)]
        held = until(lambda: _held(roles, conductors[0]), "the first conductor took nothing")
        conductors[0].kill()
        until(lambda: states(http) == {"ACTIVE": 8}, lambda: states(http))
        for ident in made:
            found = http.get(f"/compute/v2.1/servers/{ident}/os-instance-actions").json()["instanceActions"]
            assert [action["action"] for action in found] == ["create"]
    assert held
    guests = [list((roles.state / "hosts" / name / "guests").iterdir()) for name in ("h1", "h2", "h3")]
    assert sorted(path.name for found in guests for path in found) == sorted(made)
    assert [agent.process.poll() for agent in agents] == [None] * 3


def test_an_agent_takes_what_its_children_leave_behind(roles: Roles, tmp_path: Path) -> None:
    """As libvirt leaves guests: where PID 1 reaps none, one that ended would show as running for ever."""
    go, left = tmp_path / "go", tmp_path / "left"
    child = f"while [ ! -e {go} ]; do sleep 0.05; done; sleep 1000 & echo $! > {left}"
    agent = roles.start("agent", "h1", before=["sh", "-c", 'setsid sh -c "$0" & exec "$@"', child]).ready()
    go.touch()
    pid = int(until(lambda: left.exists() and left.read_text().strip(), "the child does nothing"))
    try:
        parent = Path(f"/proc/{pid}/stat")
        until(lambda: parent.read_text().rpartition(")")[2].split()[1] == str(agent.process.pid), parent.read_text)
    finally:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists(), "nobody reaps it")


def _held(roles: Roles, conductor: RoleProcess) -> int:
    """Return how many actions a conductor has in hand."""
    place = (roles.state / "roles" / conductor.name / "place").read_text().strip()
    owners = roles.rows("SELECT lease_owner FROM actions WHERE lease_owner IS NOT NULL")
    return sum(owner.startswith(f"{place}/") for (owner,) in owners)


def test_without_a_bus_an_api_serves_what_it_can_and_what_it_took_is_done_later(
    roles: Roles, server: NatsServer
) -> None:
    api, conductors, agents = cloud(roles)
    with roles.client(api) as http:
        image_id = image(http)
        first = create(http, image_id, "before")
        until(lambda: states(http) == {"ACTIVE": 1}, lambda: states(http))
        server.stop()
        for process in roles.all:
            until(lambda: process.healthz()[0] == 503, process.healthz)  # noqa: B023
            assert process.healthz()[1]["bus"] != "ok"
        create(http, image_id, "meanwhile")
        console = http.post(f"/compute/v2.1/servers/{first}/action", json={"os-getConsoleOutput": {}})
        assert (console.status_code, console.headers.get("retry-after")) == (503, "5")
        assert states(http) == {"ACTIVE": 1, "BUILD": 1}
        server.start()
        until(lambda: states(http) == {"ACTIVE": 2}, lambda: states(http))
        for process in roles.all:
            until(lambda: process.healthz()[0] == 200, process.healthz)  # noqa: B023
    assert all(process.log.count("Traceback") == 0 for process in (api, *conductors, *agents))


def test_an_api_that_is_told_to_stop_serves_on_and_says_so_until_proxies_have_noticed(roles: Roles) -> None:
    api = roles.start("api", "", "--drain-seconds", "45").ready()
    with roles.client(api) as kept, roles.client(api) as new:
        assert "connection" not in kept.get("/compute/v2.1/servers").headers
        api.process.terminate()
        until(lambda: api.healthz() == (503, {"process": "stopping"}), api.healthz)
        for http in (kept, new):
            reply = http.get("/compute/v2.1/servers")
            assert (reply.status_code, reply.headers["connection"]) == (200, "close")
        assert new.post("/network/v2.0/networks", json={"network": {"name": "late"}}).status_code == 201
    assert api.stop() == 0, "whoever says it twice does not want to wait"
    assert "Traceback" not in api.log


def test_a_role_that_starts_before_the_bus_waits_for_it_and_says_so(roles: Roles, server: NatsServer) -> None:
    server.stop()
    agent = roles.start("agent", "h1", "--status-listen", "127.0.0.1:0")
    until(lambda: "the start waits for the bus" in agent.log, lambda: agent.log)
    assert agent.process.poll() is None
    server.start()
    assert agent.ready().healthz() == (200, {"bus": "ok", "agents": "ok"})


def test_a_database_that_takes_no_write_is_told_and_requests_are_refused_for_now(
    tmp_path: Path, server: NatsServer
) -> None:
    """Nobody can lock all of a PostgreSQL, so it is SQLite always."""
    with role_processes(tmp_path, server.url, "") as roles:
        api = roles.start("api").ready()
        file = roles.state / "floe.db"
        with roles.client(api) as http, closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            until(lambda: api.healthz()[1].get("database", "ok") != "ok", api.healthz)
            refused = http.post("/compute/v2.1/os-keypairs", json={"keypair": {"name": "k"}})
            assert (refused.status_code, refused.headers.get("retry-after")) == (503, "5")
            assert http.get("/compute/v2.1/os-keypairs").status_code == 200
            other.execute("ROLLBACK")
            assert http.post("/compute/v2.1/os-keypairs", json={"keypair": {"name": "k"}}).status_code in (200, 201)
        assert api.healthz()[1]["conductors"] == "none is up: what is asked for is begun once one is"


def test_an_agent_reads_nothing_of_the_database(roles: Roles) -> None:
    agent = roles.start("agent", "h1").ready()
    maps = Path(f"/proc/{agent.process.pid}/maps").read_text()
    assert "_sqlite3" not in maps
    assert "sqlalchemy" not in maps
    assert not (roles.state / "floe.db").exists()
    assert not (roles.state / "secrets.json").exists()


def test_a_database_that_is_killed_under_load_loses_nothing_that_was_accepted(
    tmp_path: Path, server: NatsServer
) -> None:
    postgres = PostgresServer(durable=True)
    postgres.start()
    try:
        with role_processes(tmp_path, server.url, postgres.url()) as roles:
            api, conductors, agents = cloud(roles, "--fake-delay", "0.5")
            with roles.client(api) as http:
                image_id = image(http)
                made = [create(http, image_id, f"s{number}") for number in range(4)]
                postgres.stop(immediately=True)
                refused = http.post("/compute/v2.1/os-keypairs", json={"keypair": {"name": "k"}})
                assert (refused.status_code, refused.headers.get("retry-after")) == (503, "5")
                for process in (api, *conductors):
                    until(lambda: process.healthz()[1].get("database", "ok") != "ok", lambda: api.log)  # noqa: B023
                assert [agent.healthz()[0] for agent in agents] == [200] * 3
                postgres.start()
                until(lambda: http.get("/compute/v2.1/servers").status_code == 200, "the API does not come back")
                until(lambda: states(http) == {"ACTIVE": 4}, lambda: states(http))
                for ident in made:
                    assert http.delete(f"/compute/v2.1/servers/{ident}").status_code == 204
                until(lambda: not states(http), lambda: states(http))
            for process in roles.all:
                until(lambda: process.healthz()[0] == 200, process.healthz)  # noqa: B023
                assert process.process.poll() is None
    finally:
        postgres.remove()


def test_a_role_that_starts_before_its_database_waits_for_it_and_says_so(tmp_path: Path, server: NatsServer) -> None:
    postgres = PostgresServer()
    postgres.start()
    url = postgres.url()
    postgres.stop()
    try:
        with role_processes(tmp_path, server.url, url) as roles:
            api = roles.start("api")
            until(lambda: "the start waits for the database" in api.log, lambda: api.log)
            postgres.start()
            api.ready()
    finally:
        postgres.remove()


def test_with_a_key_for_each_the_bus_lets_a_host_speak_for_itself_alone(tmp_path: Path) -> None:
    def floe(*words: object) -> str:
        return subprocess.run(
            [sys.executable, "-m", "floe", *map(str, words)], capture_output=True, text=True, check=True, timeout=60
        ).stdout

    keys = {name: floe("bus-key", tmp_path / f"{name}.key").strip() for name in ("control", "h1", "h2")}
    members = tmp_path / "members"
    members.write_text(f"{keys['control']} control all\n{keys['h1']} host h1\n{keys['h2']} host h2\n")
    with (
        nats_server(tmp_path / "nats", floe("bus-config", members)) as server,
        role_processes(tmp_path, server.url) as roles,
    ):
        api = roles.start("api", "", "--bus-key", str(tmp_path / "control.key"))
        roles.start("conductor", "", "--bus-key", str(tmp_path / "control.key"))
        roles.start("agent", "h1", "--bus-key", str(tmp_path / "h1.key"))
        for process in roles.all:
            process.ready()
        liar = roles.start("agent", "h2", "--bus-key", str(tmp_path / "h1.key"))
        with roles.client(api) as http, roles.client(api, "admin") as admin:
            image_id = image(http)
            create(http, image_id, "s1")
            until(lambda: states(http) == {"ACTIVE": 1}, lambda: states(http))
            hosts = admin.get("/compute/v2.1/os-hypervisors").json()["hypervisors"]
            assert [host["hypervisor_hostname"] for host in hosts] == ["h1"]
        until(lambda: "ermission" in liar.log or "iolation" in liar.log, lambda: liar.log)
