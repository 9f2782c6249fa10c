"""What the engines of a cluster are told: files of PostgreSQL, of the bus's server, of the proxy before the APIs."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import postgres_server

from floe.bus import keys, permissions
from floe.bus.permissions import Member

_PROXY = """\
global
    maxconn 4096
    log stdout format raw daemon notice
    # Else another one on the same port would take a share of its connections.
    noreuseport

defaults
    mode http
    log global
    maxconn 4096
    option forwardfor
    # A connection for each request: none is sent into one that an API which stops is just closing.
    option http-server-close
    timeout connect 2s
    timeout http-request 30s
    timeout queue 30s
    timeout check 5s
    # A repair, or the upload of an image, may be silent for long.
    timeout client 600s
    timeout server 600s
    # What no API took may go to another; what one may have begun, only if it changes nothing.
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response
    http-error status 503 content-type application/json string SAID hdr Retry-After 5

frontend cloud
    bind 127.0.0.1:PORT
    http-request disable-l7-retry unless METH_GET
    default_backend apis

# How many APIs it gives requests to, for whoever waits for one: 200 where all of them are up.
frontend state
    bind 127.0.0.1:STATE
    http-request return status 200 if { nbsrv(apis) ge MANY }
    http-request return status 503

backend apis
    balance leastconn
    # One that starts or stops says so of its process. One that has lost the bus or the database says 503 too, and
    # serves what it still can.
    option httpchk GET /healthz
    http-check expect ! string "process"
    # One that begins anew is out of it before it listens: the first look that it fails, or connection that it does not
    # take, is enough.
    default-server check inter 200ms fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down
"""


def make_postgres(folder: Path, port: int, password: str) -> None:
    """Make the data of a PostgreSQL, if they are not there as a whole."""
    data, half = folder / "data", folder / "data.half"
    if data.exists():
        return
    secret = folder / "password"
    folder.mkdir(mode=0o700, exist_ok=True)
    shutil.rmtree(half, ignore_errors=True)
    secret.touch(mode=0o600)
    secret.write_text(password + "\n")
    own(postgres_server.unprivileged(), folder, secret)
    postgres_server.make_data(half, port, durable=True, password_file=secret)
    half.rename(data)


def make_bus(folder: Path, port: int, seeds: Path, members: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Make keys, and the files of a server that knows them: who may speak as whom, by the name of each key's file."""
    folder.mkdir(mode=0o755, exist_ok=True)
    seeds.mkdir(mode=0o700, exist_ok=True)
    listed = []
    for name, parts in members.items():
        seed = seeds / f"{name}.seed"
        if not seed.exists():
            half = seeds / f"{name}.half"
            half.touch(mode=0o600)
            half.write_text(keys.new_seed() + "\n")
            half.rename(seed)
        public = keys.public_key(seed.read_text())
        listed += [Member(key=public, part=permissions.Part(part), name=who) for part, who in parts]
    lines = [f"{member.key} {member.part} {member.name}" for member in listed]
    (folder / "floe.members").write_text("\n".join(lines) + "\n")
    (folder / "floe.conf").write_text(permissions.server_file(listed))
    settings = [f'listen: "127.0.0.1:{port}"', 'pid_file: "nats.pid"', "max_pending: 16MB", 'include "floe.conf"']
    (folder / "nats.conf").write_text("\n".join(settings) + "\n")
    own(nobody(), folder, *folder.iterdir())


def make_proxy(folder: Path, port: int, state: int, apis: Mapping[str, int]) -> None:
    """Make the file of a proxy that serves several APIs under one address, and how it sees them under another."""
    folder.mkdir(mode=0o755, exist_ok=True)
    servers = [f"    server {name} 127.0.0.1:{at}" for name, at in apis.items()]
    said = json.dumps({"error": {"code": 503, "title": "Service Unavailable", "message": "No API is up."}})
    values = {"PORT": str(port), "STATE": str(state), "MANY": str(len(apis)), "SAID": json.dumps(said)}
    text = re.sub("|".join(values), lambda found: values[found[0]], _PROXY) + "\n".join(servers) + "\n"
    (folder / "haproxy.cfg").write_text(text)


def keeps_the_bus(bus: Path) -> list[str]:
    """Return what has an API let machines join (`floe host add`): it keeps who may connect to the bus of a folder."""
    reload = f"nats-server --signal reload={bus / 'nats.pid'}"
    files = ["--bus-members", str(bus / "floe.members"), "--bus-config", str(bus / "floe.conf")]
    return [*files, "--bus-reload", reload]


def write_own(file: Path, text: str) -> None:
    """Write a file that nobody else may read."""
    file.touch(mode=0o600)
    file.write_text(text)


def give_to_asker(source: Path, file: Path) -> None:
    """Copy a file that nobody else may read for whoever asked root to start this."""
    half = file.with_name(f".{file.name}")
    write_own(half, source.read_text())
    if owner := os.environ.get("SUDO_UID"):
        os.chown(half, int(owner), int(os.environ.get("SUDO_GID", owner)))
    half.rename(file)


def tail(text: str, lines: int = 15) -> str:
    """Return the end of a log, indented."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def nobody() -> pwd.struct_passwd | None:
    """Return whom engines run as that keep nothing; None where this process is not root anyway."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def own(user: pwd.struct_passwd | None, *paths: Path) -> None:
    """Give paths to a user."""
    for path in paths if user else ():
        os.chown(path, user.pw_uid, user.pw_gid)
