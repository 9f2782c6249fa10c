"""What tests of violent ends share: customers who go on whatever happens, and a look at what is really there."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from real_cloud import RealCloud, clean_environment, eventually

TRANSIENT = 503
PATIENCE = 300.0


class Insistent:
    """A client that sends a request again, the very same, until it is answered: what a careful program does."""

    def __init__(self, cloud: RealCloud) -> None:
        self._http = httpx.Client(base_url=cloud.url, trust_env=False, timeout=30)
        domain = {"name": "Default"}
        password = json.loads((cloud.state / "secrets.json").read_text())["passwords"]["demo"]
        user = {"name": "demo", "domain": domain, "password": password}
        identity = {"methods": ["password"], "password": {"user": user}}
        auth = {"identity": identity, "scope": {"project": {"name": "demo", "domain": domain}}}
        reply = self.ask("POST", "/identity/v3/auth/tokens", {"auth": auth})
        self._http.headers["X-Auth-Token"] = reply.headers["X-Subject-Token"]
        self.repeats = 0
        """How often an answer did not come, or said that it was no time for it."""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Return the first answer that settles the matter, whatever it says."""
        headers = {"OpenStack-API-Version": "compute 2.96", **headers}
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while True:
            try:
                reply = self._http.request(method, path, json=body, headers=headers)
                if reply.status_code != TRANSIENT:
                    return reply
                said = reply.text
            except httpx.TransportError as error:
                said = repr(error)
            self.repeats += 1
            assert time.monotonic() < deadline, f"{method} {path} was not answered in {PATIENCE:g} s: {said}"
            pause.wait(0.1)

    def close(self) -> None:
        self._http.close()


class Customer(threading.Thread):
    """Creates and deletes servers at random until told to end; remembers what it was promised.

    Each create carries a key, so that it may be sent again. `made` are ids by name, `deleted` those whose delete
    was accepted.
    """

    def __init__(self, cloud: RealCloud, name: str, image: str, *, seed: int, most: int) -> None:
        super().__init__(name=name, daemon=True)
        self._client = Insistent(cloud)
        self._random = random.Random(f"{seed} {name}")
        self._body = {"imageRef": image, "flavorRef": _flavor(cloud), "networks": [{"uuid": cloud.network()}]}
        self._most = most
        self._enough = threading.Event()
        self._failure: BaseException | None = None
        self.made: dict[str, str] = {}
        self.deleted: set[str] = set()

    def run(self) -> None:
        try:
            while not self._enough.wait(self._random.uniform(0, 0.5)):
                self._act()
        except BaseException as error:
            self._failure = error
        finally:
            self._client.close()

    def end(self) -> None:
        """Let it finish what it began, and tell what went wrong."""
        self._enough.set()
        self.join(2 * PATIENCE)
        assert not self.is_alive(), f"{self.name} still waits for an answer"
        if self._failure is not None:
            raise self._failure

    @property
    def repeats(self) -> int:
        return self._client.repeats

    def _act(self) -> None:
        alive = [server for server in self.made.values() if server not in self.deleted]
        if alive and (len(alive) >= self._most or self._random.random() < 0.4):
            self._delete_server(self._random.choice(alive))
        else:
            self._create_server(f"{self.name}-{len(self.made)}")

    def _create_server(self, name: str) -> None:
        key = str(uuid.UUID(int=self._random.getrandbits(128)))
        headers = {"Idempotency-Key": key}
        reply = self._client.ask("POST", "/compute/v2.1/servers", {"server": {"name": name, **self._body}}, **headers)
        if reply.status_code == 403:
            return  # servers whose deletes wait for Floe to come back still count
        assert reply.status_code == 202, f"creating {name}: {reply.status_code} {reply.text}"
        self.made[name] = reply.json()["server"]["id"]

    def _delete_server(self, server_id: str) -> None:
        reply = self._client.ask("DELETE", f"/compute/v2.1/servers/{server_id}")
        # 404: it was accepted before, and the answer was lost with the process.
        assert reply.status_code in (204, 404), f"deleting {server_id}: {reply.status_code} {reply.text}"
        self.deleted.add(server_id)


def _flavor(cloud: RealCloud) -> str:
    flavors = cloud.user().get("/compute/v2.1/flavors")["flavors"]
    return str(next(flavor["id"] for flavor in flavors if flavor["name"] == "m1.nano"))


def killed_while_starting(cloud: RealCloud, after: float) -> None:
    """Start `floe up` and kill it so many seconds later, wherever it then is."""
    with cloud.log.open("ab") as log:
        process = subprocess.Popen(
            cloud.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment()
        )
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(60)
    else:
        raise AssertionError(f"floe up ended by itself with status {process.returncode}; see {cloud.log}")


# -- what is really there ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the host has, looked up where it is."""

    devices: frozenset[str]
    dhcp: str
    rules: str
    folders: frozenset[str]
    guests: dict[str, list[int]]
    domains: dict[str, int]


def settled(cloud: RealCloud, gone: Iterable[str]) -> list[dict[str, Any]]:
    """Wait until nothing is in between any more, and return all servers there are."""
    gone = set(gone)

    def look() -> list[dict[str, Any]] | None:
        listed = cloud.user().get("/compute/v2.1/servers/detail")["servers"]
        moving = [s["id"] for s in listed if s["status"] == "BUILD" or s["OS-EXT-STS:task_state"] is not None]
        return [None, *listed] if not moving and not gone & {s["id"] for s in listed} else None

    return eventually("every server to be settled", look, 60)[1:]


def found(cloud: RealCloud, servers: Iterable[str]) -> Found:
    hosts = f"{cloud.state}/hosts"
    commands = ("ip -br link", "cat /run/floe/*/dhcp/*/hosts", "nft -s list ruleset", f"ls {hosts}/*/guests")
    said = cloud.inside("sh", "-c", "; echo ---; ".join(commands)).split("---\n")
    persistent = [file.read_text() for file in Path(cloud.root).rglob("*.xml") if file.parent.match("etc/qemu")]
    return Found(
        devices=frozenset(line.split()[0] for line in said[0].splitlines()),
        dhcp=said[1],
        rules=said[2],
        folders=frozenset(said[3].split()),
        guests={server: cloud.qemu(server) for server in servers},
        domains={server: sum(f"<uuid>{server}</uuid>" in text for text in persistent) for server in servers},
    )


def check(cloud: RealCloud, servers: list[dict[str, Any]]) -> None:
    """Check that each server is either wholly there, once, or not at all, and that there is nothing else."""
    admin = cloud.user("admin")
    there = found(cloud, [server["id"] for server in servers])
    ports = [port for port in admin.get("/network/v2.0/ports")["ports"] if port["device_owner"].startswith("compute:")]
    active = {server["id"] for server in servers if server["status"] == "ACTIVE"}
    for server in servers:
        ident = server["id"]
        claims = admin.get(f"/placement/allocations/{ident}")["allocations"]
        mine = [port for port in ports if port["device_id"] == ident]
        if ident not in active:
            assert server["status"] == "ERROR", server
            assert server["fault"]["message"], server
            assert (there.guests[ident], there.domains[ident], claims, mine) == ([], 0, {}, []), server
            continue
        assert len(there.guests[ident]) == 1, f"{ident} has the QEMU processes {there.guests[ident]}"
        assert there.domains[ident] == 1, f"{ident} is defined {there.domains[ident]} times"
        assert len(claims) == 1, f"{ident} has the allocations {claims}"
        assert len(mine) == 1, f"{ident} has the ports {mine}"
        (port,) = mine
        tap = f"tap{port['id'][:11]}"
        assert tap in there.devices
        assert there.dhcp.count(port["mac_address"]) == 1, f"DHCP entries of {port['mac_address']}:\n{there.dhcp}"
        assert tap in there.rules
    taps = {device for device in there.devices if device.startswith("tap")}
    assert taps == {f"tap{port['id'][:11]}" for port in ports}
    assert {port["device_id"] for port in ports} == active
    assert there.folders == active
    used = cloud.user().get("/compute/v2.1/limits")["limits"]["absolute"]
    assert used["totalInstancesUsed"] == len(servers)
    assert len([line for line in cloud.processes() if "qemu-system" in line]) == len(active)
