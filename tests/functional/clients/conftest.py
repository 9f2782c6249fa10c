"""The clients that people already have, each as it comes, against a running cloud with two fake hosts."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import socket
import subprocess
import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from floe.testing import EmbeddedCloud

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqeeh3KaUsVNkxrNhlgYZ4qdLBXx5iZNYTLeZ9ZPqzv ann@example"
_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]


def program() -> str:
    """Return the `openstack` program to test with; a machine without it fails, as no test here is optional."""
    path = os.environ.get("OPENSTACK_CLIENT") or str(_ROOT / ".venv-client/bin/openstack")
    if not os.access(path, os.X_OK):
        pytest.fail(
            f"There is no openstack client at {path}: scripts/test installs it, or name it in OPENSTACK_CLIENT."
        )
    return path


class Forks:
    """Runs a Python program unchanged, each time in a fork of a process that has read its package already.

    Reading it is nine tenths of what a run costs.
    """

    def __init__(self, program: str, package: str) -> None:
        interpreter = shlex.split(Path(program).read_text().splitlines()[0].removeprefix("#!"))
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            words = [*interpreter, str(_HERE / "forked_program.py"), program, str(its.fileno()), package]
            self._process = subprocess.Popen(words, pass_fds=[its.fileno()], env={"LC_ALL": "C.UTF-8"})

    def run(self, words: Sequence[str], folder: Path, env: dict[str, str]) -> tuple[int, str, str]:
        """Run it and wait; return its exit status, and what it said."""
        status, its = os.pipe()
        with os.fdopen(status, "rb") as ended, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                told = json.dumps([words, str(folder), env]).encode()
                socket.send_fds(self._socket, [told], [out.fileno(), err.fileno(), its])
            finally:
                os.close(its)
            code = ended.read()
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        assert code, f"{words} ended without a status: {said}"
        return int(code), said[0], said[1]

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()


@pytest.fixture(scope="session")
def openstack_program() -> Iterator[Forks]:
    """The `openstack` program."""
    forks = Forks(program(), "openstackclient")
    yield forks
    forks.close()


class Openstack:
    """The `openstack` program as one user; a call returns what it prints, read as JSON."""

    def __init__(self, forks: Forks, home: Path, env: dict[str, str]) -> None:
        self._forks = forks
        self._home = home
        self._env = {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **env}

    async def __call__(self, *words: str, fails: str | None = None) -> Any:
        """Run a command; with `fails` it must not succeed and say this."""
        status, out, err = await in_thread(self._forks.run, words, self._home, self._env)
        if fails is not None:
            assert status != 0, f"{words} succeeded: {out}"
            assert fails in err, f"{words}: {err}"
            return None
        assert status == 0, f"{words}: {err}"
        return json.loads(out) if out and "json" in words else out

    async def json(self, *words: str) -> Any:
        """Run a command that prints an object or a list."""
        return await self(*words, "-f", "json")


@pytest.fixture
def openstack_as(embedded: EmbeddedCloud, openstack_program: Forks, tmp_path: Path) -> Callable[..., Openstack]:
    """Return the client of a user, scoped to the project of the same name unless told otherwise."""
    home = tmp_path / "home"
    home.mkdir()

    def make(user: str, **more: str) -> Openstack:
        env = {
            "OS_AUTH_URL": f"{embedded.url}/identity/v3",
            "OS_IDENTITY_API_VERSION": "3",
            "OS_REGION_NAME": "RegionOne",
            "OS_USERNAME": user,
            "OS_PASSWORD": embedded.passwords[user],
            "OS_USER_DOMAIN_NAME": "Default",
        }
        scope = more or {"OS_PROJECT_NAME": user, "OS_PROJECT_DOMAIN_NAME": "Default"}
        return Openstack(openstack_program, home, {**env, **scope})

    return make


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    """A raw image of one megabyte with the signature of a boot sector."""
    path = tmp_path / "tiny.img"
    path.write_bytes(b"\0" * 510 + b"\x55\xaa" + b"floe" * (1 << 18))
    return path


@pytest.fixture
def sdk_as(embedded: EmbeddedCloud) -> Callable[..., Any]:
    """Return openstacksdk's connection of a user. It blocks: use it in a thread."""

    def make(user: str, **scope: Any) -> Any:
        with warnings.catch_warnings():
            # The library warns of its own plans for its own options.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            import openstack

            return openstack.connect(
                auth_url=f"{embedded.url}/identity",
                username=user,
                password=embedded.passwords[user],
                user_domain_name="Default",
                region_name="RegionOne",
                load_yaml_config=False,
                load_envvars=False,
                compute_default_microversion="2.96",
                **(scope or {"project_name": user, "project_domain_name": "Default"}),
            )

    return make


async def in_thread(fn: Callable[..., Any], *args: Any) -> Any:
    """Run what blocks while the cloud goes on."""
    return await asyncio.to_thread(fn, *args)


Login = Callable[[str], Awaitable[dict[str, str]]]


@pytest.fixture
async def http(embedded: EmbeddedCloud) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client at the cloud's address."""
    async with httpx.AsyncClient(base_url=embedded.url) as client:
        yield client


@pytest.fixture
def login(embedded: EmbeddedCloud, http: httpx.AsyncClient) -> Login:
    """Return the headers that carry a user's token."""

    async def headers(user: str) -> dict[str, str]:
        who = {"name": user, "domain": {"id": "default"}, "password": embedded.passwords[user]}
        scope = {"project": {"name": user, "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
        reply = await http.post("/identity/v3/auth/tokens", json=body)
        assert reply.status_code == 201, reply.text
        return {"x-auth-token": reply.headers["x-subject-token"]}

    return headers


def encoded(text: str) -> str:
    """Return text as user data is sent."""
    return base64.b64encode(text.encode()).decode()
