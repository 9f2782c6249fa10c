"""Machines become hosts of a running cloud by one command each, over a bus that lets in nobody else."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shlex
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from certificates import with_tls
from nats.aio.client import Client
from nats.errors import Error, NoServersError
from nats_server import NatsServer, nats_folder, nats_server
from role_processes import RoleProcess, Roles, role_processes, until

from floe import cli
from floe.bus import keys
from floe.core.host_keys import bus_digest


def floe(*words: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "floe", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=env, input=stdin)


@dataclass
class Site:
    """A cloud whose bus is guarded and encrypted, and machines that may join it."""

    folder: Path
    roles: Roles
    server: NatsServer
    api: RoleProcess = field(init=False)

    def control(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command as an operator does, on the control plane's machine."""
        return floe(*words, "--state", self.roles.state)

    def hosts(self) -> dict[str, dict[str, Any]]:
        done = self.control("host", "list", "--json")
        assert done.returncode == 0, done.stderr
        return {host["name"]: host for host in json.loads(done.stdout)}

    def add(self, name: str, *more: str) -> list[str]:
        """Return the words of the command for a new machine, without the program's name."""
        done = self.control("host", "add", name, *more)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        program, *words = shlex.split(line)
        assert program == "floe"
        return words

    def machine(self, name: str) -> Path:
        """Return the directory of a machine."""
        found = self.folder / name
        found.mkdir(exist_ok=True)
        return found

    def join(self, machine: Path, words: list[str], *more: str) -> subprocess.CompletedProcess[str]:
        own = ["--state", machine / "state", "--config", machine / "floe.toml", "--hypervisor", "fake"]
        return floe(*words, *own, *more)

    def joined(self, name: str) -> Path:
        machine = self.machine(name)
        done = self.join(machine, self.add(name))
        assert done.returncode == 0, done.stderr
        assert "The bus lets it in." in done.stdout, done.stderr
        return machine

    def agent(self, machine: Path) -> RoleProcess:
        words = ["agent", "--config", str(machine / "floe.toml"), "--status-listen", "127.0.0.1:0"]
        process = RoleProcess(machine, "agent", words, {})
        self.roles.all.append(process)
        return process.ready()

    def seed(self, machine: Path) -> str:
        return (machine / "state" / "bus.seed").read_text().strip()


@pytest.fixture
def site(tmp_path: Path, database: str) -> Iterator[Site]:
    with nats_folder() as folder:
        made = {name: tmp_path / f"{name}.seed" for name in ("api", "conductor")}
        for file in made.values():
            assert cli.main(["bus-key", str(file)]) == 0
        listed = [f"{keys.public_key(file.read_text())} control {name}\n" for name, file in made.items()]
        (folder / "members").write_text("".join(listed))
        assert cli.main(["bus-config", str(folder / "members"), "--output", str(folder / "users.conf")]) == 0
        own = f'{with_tls(folder, "ours")}\ninclude "users.conf"\npid_file: "{folder}/pid"'
        with nats_server(folder, own) as server, role_processes(tmp_path, server.url, database) as roles:
            with roles.config.open("a") as config:
                config.write(f'bus_ca = "{folder}/ours.pem"\n')
            site = Site(tmp_path, roles, server)
            site.api = keeper(site)
            site.api.ready()
            key = str(made["conductor"])
            roles.start("conductor", "", "--bus-key", key).ready()
            yield site


def keeper(site: Site) -> RoleProcess:
    """Start the API that keeps the bus's file."""
    folder = site.server.folder
    more = {
        "--bus-key": site.folder / "api.seed",
        "--bus-config": folder / "users.conf",
        "--bus-members": folder / "members",
        "--bus-reload": f"nats-server --signal reload={folder}/pid",
    }
    return site.roles.start("api", "", *(str(word) for pair in more.items() for word in pair))


def test_a_machine_joins_by_one_command_and_serves(site: Site) -> None:
    words = site.add("h1")
    assert words[:2] == ["agent", "join"]
    assert site.hosts()["h1"]["state"] == "awaited"
    machine = site.machine("h1")
    done = site.join(machine, words)
    assert done.returncode == 0, done.stderr
    assert "The bus lets it in." in done.stdout
    assert f"floe agent --config {machine / 'floe.toml'}" in done.stdout
    for file in (machine / "floe.toml", machine / "state" / "bus.seed", machine / "state" / "bus-ca.pem"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = words[words.index("--token") + 1]
    kept = [path.read_bytes() for path in site.roles.state.rglob("*") if path.is_file()]
    for secret in (site.seed(machine), token.partition(".")[0]):
        assert not any(secret.encode() in data for data in kept), "it is not on the control plane"
    before = (machine / "floe.toml").read_text()
    again = site.join(machine, words)  # the answer was lost, say
    assert again.returncode == 0, again.stderr
    assert (machine / "floe.toml").read_text() == before
    assert site.hosts()["h1"]["state"] == "joined"
    agent = site.agent(machine)
    until(lambda: site.hosts()["h1"]["state"] == "up", lambda: agent.log)
    host = site.hosts()["h1"]
    assert host["key"] == keys.public_key(site.seed(machine))
    assert host["fingerprint"] in done.stdout
    assert host["fingerprint"] in site.control("host", "list").stdout
    # A second machine, with the same name: it gets no token, and that of the first one is good for the first alone.
    refused = site.control("host", "add", "h1")
    assert refused.returncode == 1
    assert host["fingerprint"] in refused.stderr
    stranger = site.machine("stranger")
    refused = site.join(stranger, words)
    assert refused.returncode == 1
    assert f"redeemed already, by the key {host['fingerprint']}" in refused.stderr
    assert not (stranger / "floe.toml").exists()
    assert agent.healthz()[0] == 200


def test_a_machine_that_joined_has_all_that_it_takes_to_build_a_server(site: Site) -> None:
    """Images too, which it sees over HTTP alone."""
    machine = site.joined("h1")
    agent = site.agent(machine)
    until(lambda: site.hosts()["h1"]["state"] == "up", lambda: agent.log)
    with site.roles.client(site.api) as http:
        image = {"name": "tiny", "disk_format": "raw", "container_format": "bare"}
        ident = http.post("/image/v2/images", json=image).json()["id"]
        kind = {"content-type": "application/octet-stream"}
        assert http.put(f"/image/v2/images/{ident}/file", content=b"x" * 4096, headers=kind).status_code == 204
        asked = {"name": "s", "imageRef": ident, "flavorRef": "1", "networks": "auto"}
        made = http.post("/compute/v2.1/servers", json={"server": asked}).json()["server"]

        def status() -> str:
            server = http.get(f"/compute/v2.1/servers/{made['id']}").json()["server"]
            assert server["status"] != "ERROR", server
            return str(server["status"])

        until(lambda: status() == "ACTIVE", lambda: agent.log)
        assert site.hosts()["h1"]["servers"] == 1
        agent.stop()
        refused = site.control("host", "remove", "h1")
        assert refused.returncode == 1
        assert "still has 1 server; delete or move them first" in refused.stderr


def test_a_host_is_disabled_enabled_and_removed(site: Site) -> None:
    machine = site.joined("h1")
    agent = site.agent(machine)
    until(lambda: site.hosts()["h1"]["state"] == "up", lambda: agent.log)
    assert site.control("host", "disable", "h1", "--reason", "a fan").returncode == 0
    assert "disabled: a fan" in site.control("host", "list").stdout
    assert site.control("host", "enable", "h1").returncode == 0
    assert site.hosts()["h1"]["enabled"]
    refused = site.control("host", "remove", "h1")
    assert refused.returncode == 1
    assert "is up; stop its agent first" in refused.stderr
    assert agent.stop() == 0
    until(lambda: site.hosts()["h1"]["state"] == "down", "it said that it stops")
    assert site.control("host", "remove", "h1").returncode == 0
    assert site.hosts() == {}
    until(lambda: refuses(site, site.seed(machine)), site.api.log)
    missing = site.control("host", "remove", "h1")
    assert missing.returncode == 1
    assert "h1" in missing.stderr
    # The name is free for another machine.
    site.joined("h1")


def test_what_the_bus_lets_in_follows_the_database_whoever_died_meanwhile(site: Site) -> None:
    second = site.roles.start("api", "2", "--bus-key", str(site.folder / "api.seed")).ready()
    machine, words = site.machine("h1"), site.add("h1")
    site.api.kill()
    words[2] = second.url
    done = site.join(machine, words)
    assert done.returncode == 0, done.stderr
    assert "the bus does not let this machine in yet" in done.stderr
    assert "floe bus-config --joined" in done.stderr
    agent = RoleProcess(machine, "agent", ["agent", "--config", str(machine / "floe.toml")], {})
    site.roles.all.append(agent)
    site.api = keeper(site)
    site.api.ready()
    assert site.api.healthz()[1]["bus_config"] == "ok"
    until(lambda: site.hosts()["h1"]["state"] == "up", lambda: agent.log)
    # A list that makes no sense is said, the file stays, and the next that does is taken.
    members = site.server.folder / "members"
    good = members.read_text()
    members.write_text(good + "nonsense\n")
    until(lambda: "nonsense" in site.api.healthz()[1]["bus_config"], site.api.log)
    assert not refuses(site, site.seed(machine))
    members.write_text(good)
    until(lambda: site.api.healthz()[1]["bus_config"] == "ok", site.api.log)
    done = site.control("bus-config", members, "--joined")
    assert done.stdout == (site.server.folder / "users.conf").read_text()


def test_a_stolen_host_key_is_good_for_that_host_alone_and_until_it_is_locked_out(site: Site) -> None:
    first, second = site.joined("h1"), site.joined("h2")
    agents = {machine.name: site.agent(machine) for machine in (first, second)}
    until(lambda: all(site.hosts()[name]["state"] == "up" for name in agents), "both are up")
    seed = site.seed(first)
    refused = tried(
        site,
        seed,
        says=["floe.all.h2", "floe.one.h2", "floe.here.h2", "_R.h2.x.1", "floe.do.h2", "floe.do.h1", "floe.one"],
        hears=["floe.do.h2", "floe.do.*", ">", "floe.all.*", "_R.>", "floe.one.h2"],
        expected=13,
    )
    assert len(refused) == 13, refused
    assert all("permissions violation" in words for words in refused)
    assert tried(site, seed, says=["floe.all.h1"], hears=["floe.do.h1"], expected=0) == [], "that host it can be"
    assert not refuses(site, seed)
    words = site.add("h1", "--new-key")
    until(lambda: refuses(site, seed), site.api.log)
    until(lambda: agents["h1"].healthz()[0] == 503, agents["h1"].log)
    assert "refuses our key" in agents["h1"].healthz()[1]["bus"]
    assert agents["h2"].healthz()[0] == 200, "nobody else is disturbed"
    agents["h1"].stop()
    (first / "state" / "bus.seed").unlink()
    done = site.join(first, words, "--overwrite")
    assert done.returncode == 0, done.stderr
    site.agent(first)
    until(lambda: site.hosts()["h1"]["state"] == "up", "it is back with another key")
    until(lambda: refuses(site, seed), "the old key is worthless for ever")


def tried(site: Site, seed: str, *, says: list[str], hears: list[str], expected: int) -> list[str]:
    """Return what the bus refused to somebody with a key who speaks NATS without Floe's manners."""
    import asyncio

    async def attempt() -> list[str]:
        refused: list[str] = []

        async def note(error: Exception) -> None:
            refused.append(str(error).lower())

        client = await connected(site, seed, error_cb=note)
        for subject in says:
            await client.publish(subject, b"x")
        for subject in hears:
            await client.subscribe(subject)
        await client.flush()
        with contextlib.suppress(TimeoutError):  # what is refused is told of after it
            async with asyncio.timeout(10 if expected else 0.5):
                while len(refused) < expected or not expected:
                    await asyncio.sleep(0.01)
        await client.close()
        return refused

    return asyncio.run(attempt())


def refuses(site: Site, seed: str) -> bool:
    """Whether the bus lets a key in no more."""
    import asyncio

    async def attempt() -> None:
        await (await connected(site, seed)).close()

    try:
        asyncio.run(attempt())
    except OSError:
        return False  # cut off without a word; whoever wants to know asks again
    except NoServersError:
        return True
    except Error as error:
        assert "authorization violation" in str(error).lower(), error
        return True
    return False


async def connected(site: Site, seed: str, **more: Any) -> Client:
    import ssl

    client, trusted = Client(), ssl.create_default_context(cafile=site.server.folder / "ours.pem")
    try:
        await client.connect(
            site.server.url, nkeys_seed_str=seed, tls=trusted, allow_reconnect=False, max_reconnect_attempts=1, **more
        )
    except BaseException:
        await cut(client)
        raise
    return client


async def cut(client: Client) -> None:
    """Let go of the connection of one that was refused, which it does not do itself."""
    import asyncio

    writer = getattr(client._transport, "_io_writer", None)
    if writer is not None:
        with suppress(AttributeError):  # of a TLS connection that is closed already, in Python 3.11
            writer.transport.abort()
        await asyncio.sleep(0)


# -- a machine and a cloud that is not what it should be ------------------------------------------------


def test_what_is_wrong_with_a_machine_is_said_before_the_token_is_used(site: Site) -> None:
    words, machine = site.add("h1"), site.machine("h1")
    state, config = machine / "state", machine / "floe.toml"
    state.mkdir()
    state.chmod(0o777)
    refused = site.join(machine, words)
    assert refused.returncode == 1
    assert "others may write to" in refused.stderr
    assert "the token was not used" in refused.stderr
    state.chmod(0o711)
    config.write_text('host = "other"\n')
    refused = site.join(machine, words)
    assert refused.returncode == 1
    assert "--overwrite" in refused.stderr
    assert config.read_text() == 'host = "other"\n'
    config.unlink()
    (state / "hosts").mkdir(exist_ok=True)
    (state / "hosts" / "name").write_text("h7\n")
    refused = site.join(machine, words)
    assert refused.returncode == 1
    assert "is that of host 'h7'" in refused.stderr
    (state / "hosts" / "name").unlink()
    assert site.hosts()["h1"]["state"] == "awaited"
    config.write_text("# ours\ncpu_ratio = 2.0\n")
    token = words[words.index("--token") + 1]
    words[words.index("--token") + 1] = "-"
    done = floe(*words, "--state", state, "--config", config, "--hypervisor", "fake", "--overwrite", stdin=f"{token}\n")
    assert done.returncode == 0, done.stderr
    assert (machine / "floe.toml.before").read_text() == "# ours\ncpu_ratio = 2.0\n"
    # What an operator adds to the settings stays, when the same command is given again.
    with config.open("a") as file:
        file.write("cpu_ratio = 2.0\n")
    before = config.read_text()
    words[words.index("--token") + 1] = token
    assert site.join(machine, words).returncode == 0
    assert config.read_text() == before


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({2: "ftp://x"}, "one like https://10.0.0.1:8774 is wanted"),
        ({4: "h 1"}, "A host is named by"),
        ({6: "a" * 64}, "The token is not as"),
        ({6: "short"}, "The token is not as"),
        ({6: "a" * 64 + ".abc"}, "The token is not as"),
    ],
)
def test_a_command_that_was_not_copied_whole_is_refused(changed: dict[int, str], why: str, tmp_path: Path) -> None:
    words = ["agent", "join", "http://127.0.0.1:1", "--host", "h1", "--token", f"{'a' * 64}.{'0' * 64}"]
    words = [changed.get(place, word) for place, word in enumerate(words)]
    done = floe(*words, "--state", tmp_path / "state", "--config", tmp_path / "floe.toml", "--hypervisor", "fake")
    assert done.returncode == 1
    assert why in done.stderr
    assert not (tmp_path / "state").exists()


@contextmanager
def answering(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Give the URL of whoever answers in a cloud's place."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self)

        def log_message(self, *_words: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_answer_that_is_lost_is_asked_for_again_with_the_same_key(site: Site) -> None:
    asked: list[bytes] = []

    def lose_the_first(handler: http.server.BaseHTTPRequestHandler) -> None:
        import httpx

        body = handler.rfile.read(int(handler.headers["content-length"]))
        reply = httpx.post(f"{site.api.url}{handler.path}", content=body, timeout=60)
        assert reply.status_code == 200, reply.text
        asked.append(body)
        if len(asked) == 1:
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(reply.content)

    with answering(lose_the_first) as url:
        words, machine = site.add("h1"), site.machine("h1")
        words[2] = url
        done = site.join(machine, words)
    assert done.returncode == 0, done.stderr
    assert len(asked) == 2
    assert asked[0] == asked[1]


BUS = "nats://127.0.0.1:1"
FALSE: list[Any] = [
    {"join": {"host": "h1", "bus": BUS, "bus_ca": "another"}},
    {"join": {"host": "h1", "bus": BUS, "bus_ca": None}},
    {"join": {"host": "h1", "bus": "nats://10.0.0.66:4222", "bus_ca": "ours"}},
    {"join": {"host": "h2", "bus": BUS, "bus_ca": "ours"}},
    {"join": {"host": "h1", "bus": ["nats"]}},
    {"join": "yes"},
    ["join"],
    "no JSON",
]


@pytest.mark.parametrize("said", FALSE, ids=[str(number) for number in range(len(FALSE))])
def test_who_answers_in_the_clouds_place_is_not_believed(said: Any, tmp_path: Path) -> None:
    def lie(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers["content-length"]))
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write((said if isinstance(said, str) else json.dumps(said)).encode())

    with answering(lie) as url:
        token = f"{'a' * 64}.{bus_digest(BUS, 'ours')}"
        own = ["--state", tmp_path / "state", "--config", tmp_path / "floe.toml", "--hypervisor", "fake"]
        done = floe("agent", "join", url, "--host", "h1", "--token", token, *own)
    assert done.returncode == 1
    assert "does not answer as a cloud does" in done.stderr or "names another bus" in done.stderr
    assert not (tmp_path / "floe.toml").exists()
    assert "Traceback" not in done.stderr
