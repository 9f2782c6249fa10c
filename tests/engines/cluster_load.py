"""Customers of a cluster who create and delete all the while, and a record of what each of them saw.

They do what a careful client does: a create carries a key and is sent again until it is answered, as is a delete.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self

import httpx

from cluster import Cluster
from floe.cli import clouds_file

CREATE, DELETE, LIST = "create", "delete", "list"
REBOOT, OFF, ON = {"reboot": {"type": "HARD"}}, {"os-stop": None}, {"os-start": None}
FOR_NOW = {0, 502, 503, 504}
"""Answers that say nothing of what was asked for; 0 is none at all."""
_IMAGE = {"container_format": "bare", "name": "tiny", "visibility": "private"}
_PAUSE = 0.1
_COMPUTE = "/compute/v2.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request with its answer: by when both happened, what it was for, and what it showed."""

    verb: str
    began: float
    ended: float
    status: int
    again: bool = False
    """Whether a refusal for now said when to come back."""
    key: str = ""
    server: str = ""
    seen: dict[str, str] = field(default_factory=dict)
    """The states of servers, of a list."""


class Customer:
    """Somebody with a project, who asks through the one address of all APIs."""

    def __init__(self, cluster: Cluster, cloud: str = "floe") -> None:
        self._access = clouds_file.access(cluster.state)[cloud]
        self._http = httpx.Client(base_url=cluster.url, timeout=30)
        self.history: list[Asked] = []
        self.image = ""
        try:
            self._log_in()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def bring_image(self, content: bytes = b"x" * 4096, disk_format: str = "raw") -> None:
        """Have an image to create from."""
        made = self._http.post("/image/v2/images", json=_IMAGE | {"disk_format": disk_format}).json()
        data = {"content-type": "application/octet-stream"}
        put = self._http.put(f"/image/v2/images/{made['id']}/file", content=content, headers=data)
        assert put.status_code == 204, put.text
        self.image = made["id"]

    def lift_quotas(self) -> None:
        """Let the project of customers have any number of servers; for the administrator."""
        (project,) = self._http.get("/identity/v3/projects?name=demo").json()["projects"]
        servers = {"instances": -1, "cores": -1, "ram": -1}
        for path, body in (
            (f"{_COMPUTE}/os-quota-sets/{project['id']}", {"quota_set": servers}),
            (f"/network/v2.0/quotas/{project['id']}", {"quota": {"port": -1}}),
        ):
            reply = self._http.put(path, json=body)
            assert reply.status_code == 200, reply.text

    def create(self, key: str) -> str:
        """Ask for a server until that is answered for good, and return its id."""
        body = {"name": key, "imageRef": self.image, "flavorRef": "1", "networks": "auto"}
        while True:
            asked, reply = self.ask(CREATE, "POST", "/servers", {"server": body}, key=key)
            if asked.status not in FOR_NOW:
                assert asked.status == 202, reply
                return str(reply["server"]["id"])
            time.sleep(_PAUSE)

    def delete(self, server: str) -> None:
        """Ask for a server's end until that is answered for good."""
        while True:
            asked, reply = self.ask(DELETE, "DELETE", f"/servers/{server}", server=server)
            if asked.status not in FOR_NOW:
                assert asked.status in {204, 404}, reply
                return
            time.sleep(_PAUSE)

    def change(self, server: str, what: Mapping[str, Any]) -> None:
        """Have a server's guest changed; asked once, since a second reboot would be one more."""
        reply = self._http.post(f"{_COMPUTE}/servers/{server}/action", json=what)
        assert reply.status_code == 202, reply.text

    def states(self) -> dict[str, str] | None:
        """Return the states of all servers of the project; None where nobody says for now."""
        asked, _ = self.ask(LIST, "GET", "/servers/detail?limit=1000")
        return None if asked.status in FOR_NOW else asked.seen

    def ask(
        self, verb: str, method: str, path: str, body: Any = None, *, key: str = "", server: str = ""
    ) -> tuple[Asked, Any]:
        """Ask once, and write it down."""
        headers = {"idempotency-key": key} if key else {}
        began, reply, status, told = time.monotonic(), None, 0, False
        with contextlib.suppress(httpx.TransportError):
            answer = self._http.request(method, _COMPUTE + path, json=body, headers=headers)
            status, told = answer.status_code, "retry-after" in answer.headers
            with contextlib.suppress(ValueError):
                reply = answer.json()
        seen = {}
        if status == 200 and verb == LIST:
            seen = {each["id"]: each["status"] for each in reply["servers"]}
        if status == 202 and verb == CREATE:
            server = reply["server"]["id"]
        asked = Asked(
            verb=verb,
            began=began,
            ended=time.monotonic(),
            status=status,
            again=told,
            key=key,
            server=server,
            seen=seen,
        )
        self.history.append(asked)
        return asked, reply

    def _log_in(self) -> None:
        domain = {"name": self._access["user_domain_name"]}
        user = {"name": self._access["username"], "password": self._access["password"], "domain": domain}
        scope = {"project": {"name": self._access["project_name"], "domain": domain}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        reply = self._http.post("/identity/v3/auth/tokens", json=body)
        assert reply.status_code == 201, reply.text
        self._http.headers["x-auth-token"] = reply.headers["x-subject-token"]
        self._http.headers["openstack-api-version"] = "compute 2.90"


@contextlib.contextmanager
def serving(cluster: Cluster) -> Iterator[Cluster]:
    """Start a cluster whose customers may have any number of servers; it ends with the block."""
    try:
        cluster.start()
        with Customer(cluster, "floe-admin") as operator:
            operator.lift_quotas()
        yield cluster
    finally:
        cluster.close()


class Load:
    """Several customers' threads: each creates, waits a little, and deletes some of what it made.

    What they were promised and did not delete is in `kept` afterwards.
    """

    def __init__(self, cluster: Cluster, *, creators: int = 3, name: str = "load", dice: Random) -> None:
        self._names = (f"{name}-{number}" for number in itertools.count(1))
        self._lock, self._over = threading.Lock(), threading.Event()
        self._customers = [Customer(cluster) for _ in range(creators + 1)]
        self._customers[0].bring_image()
        for other in self._customers[1:]:
            other.image = self._customers[0].image
        self._dice = [Random(dice.random()) for _ in self._customers]
        self._threads = ThreadPoolExecutor(len(self._customers))
        self._doing: list[Future[None]] = []
        self.kept: set[str] = set()
        self.deleted: set[str] = set()

    @property
    def history(self) -> list[Asked]:
        """What all of them asked, in the order in which it was answered."""
        return sorted((asked for each in self._customers for asked in each.history), key=lambda asked: asked.ended)

    @property
    def looker(self) -> Customer:
        """Who looks, and makes nothing."""
        return self._customers[0]

    def start(self) -> None:
        self._doing = [self._threads.submit(self._look, self._customers[0])]
        for customer, dice in zip(self._customers[1:], self._dice[1:], strict=True):
            self._doing.append(self._threads.submit(self._create_and_delete, customer, dice))

    def stop(self) -> None:
        """Have them finish what they are at, and raise what went wrong with any of them."""
        self._over.set()
        for each in self._doing:
            each.result()

    def close(self) -> None:
        self._over.set()
        self._threads.shutdown()
        for customer in self._customers:
            customer.close()

    def _look(self, customer: Customer) -> None:
        while not self._over.wait(_PAUSE):
            customer.states()

    def _create_and_delete(self, customer: Customer, dice: Random) -> None:
        mine: list[str] = []
        while not self._over.wait(dice.uniform(0, 2 * _PAUSE)):
            if len(mine) < 4 or dice.random() < 0.5:
                with self._lock:
                    name = next(self._names)
                mine.append(customer.create(name))
                with self._lock:
                    self.kept.add(mine[-1])
            else:
                server = mine.pop(dice.randrange(len(mine)))
                customer.delete(server)
                with self._lock:
                    self.kept.discard(server)
                    self.deleted.add(server)


@contextlib.contextmanager
def under_load(cluster: Cluster, name: str, dice: Random) -> Iterator[Load]:
    """Give a load that has begun; it ends with the block, if not before."""
    load = Load(cluster, name=name, dice=dice)
    try:
        load.start()
        yield load
        load.stop()
    finally:
        load.close()


def broken(history: Sequence[Asked]) -> list[str]:
    """Return what in a history is against the promises. Of two requests that overlap in time, either may be first."""
    return [text for rule in _RULES for text in rule(history)]


def _answered_or_refused_for_now(history: Sequence[Asked]) -> Iterator[str]:
    fine = {CREATE: {202}, DELETE: {204, 404}, LIST: {200}}
    for asked in history:
        if asked.status not in fine[asked.verb] | FOR_NOW:
            yield f"{asked.verb} {asked.key or asked.server} was answered with {asked.status}"
        if asked.status == 503 and not asked.again:
            yield f"{asked.verb} {asked.key or asked.server} was refused for now without Retry-After"


def _a_key_makes_one_server(history: Sequence[Asked]) -> Iterator[str]:
    made: dict[str, set[str]] = {}
    for asked in _creates(history):
        made.setdefault(asked.key, set()).add(asked.server)
    for key, servers in made.items():
        if len(servers) > 1:
            yield f"the key {key} made {len(servers)} servers"
    if len({server for servers in made.values() for server in servers}) < len(made):
        yield "two keys made one server"


def _what_was_promised_is_listed_until_its_delete(history: Sequence[Asked]) -> Iterator[str]:
    since = {asked.server: asked.ended for asked in reversed(_creates(history))}
    until = {asked.server: asked.began for asked in reversed(history) if asked.verb == DELETE}
    for listed in _lists(history):
        for server, created in since.items():
            whole = created < listed.began and listed.ended < until.get(server, float("inf"))
            if whole and server not in listed.seen:
                yield f"server {server} was promised and is not listed"


def _what_is_gone_stays_gone(history: Sequence[Asked]) -> Iterator[str]:
    deletes = {asked.server: asked.ended for asked in history if asked.verb == DELETE and asked.status in {204, 404}}
    gone: dict[str, float] = {}
    for listed in _lists(history):
        for server, deleted in deletes.items():
            if deleted < listed.began and server not in listed.seen:
                gone.setdefault(server, listed.ended)
            elif server in listed.seen and gone.get(server, float("inf")) < listed.began:
                yield f"server {server} was gone and is listed again"


def _what_is_active_is_never_built_again(history: Sequence[Asked]) -> Iterator[str]:
    active: dict[str, float] = {}
    for listed in _lists(history):
        for server, state in listed.seen.items():
            if state == "ACTIVE":
                active.setdefault(server, listed.ended)
            elif state == "BUILD" and active.get(server, float("inf")) < listed.began:
                yield f"server {server} was ACTIVE and is built again"


def _creates(history: Sequence[Asked]) -> list[Asked]:
    return [asked for asked in history if asked.verb == CREATE and asked.status == 202]


def _lists(history: Sequence[Asked]) -> list[Asked]:
    found = [asked for asked in history if asked.verb == LIST and asked.status == 200]
    return sorted(found, key=lambda asked: asked.ended)


_RULES: tuple[Callable[[Sequence[Asked]], Iterator[str]], ...] = (
    _answered_or_refused_for_now,
    _a_key_makes_one_server,
    _what_was_promised_is_listed_until_its_delete,
    _what_is_gone_stays_gone,
    _what_is_active_is_never_built_again,
)
