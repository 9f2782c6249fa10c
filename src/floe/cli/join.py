"""`floe agent join`: make this machine a host of a cloud, with the token that `floe host add` printed there.

Each step may be done again: a key that is there is kept, the token is good for that key as often as it asks, and
settings that are there already and say the same stay. So a join that was cut off anywhere is done by the same command.
"""

from __future__ import annotations

import argparse
import base64
import ipaddress
import json
import os
import re
import ssl
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from floe.cli import doctor
from floe.cli.bus_key import key_of_file
from floe.cli.client import refusal
from floe.cli.findings import Finding, Level
from floe.cli.secrets import write_private
from floe.cli.state_directory import share
from floe.core.errors import Conflict, FloeError, Invalid, Unavailable
from floe.core.host_keys import bus_digest, demand_name, fingerprint, signed_words
from floe.places import host_name, known_name
from floe.settings import CONFIG, Settings, load

KEY_FILE, CA_FILE = "bus.seed", "bus-ca.pem"
_TAKEN = ("bus", "images_from")
"""What the cloud may say of this machine's settings; nothing else of its answer gets there."""
_SECONDS = 30.0
_PATIENCE = 120.0
"""Seconds for which a cloud that is busy, or does not answer, is asked again."""
_BUS_SECONDS = 20.0
"""Seconds for which the bus may not let us in yet: its server is told within one or two."""
_MOST_BYTES = 1 << 20
_AGAIN = re.compile(r"[0-9]{1,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done: which cloud, as which host, with what, and where what it needs is kept."""

    url: str
    host: str
    token: str
    bus_digest: str
    """Of where the bus is, and of what signs for it, as the control plane said when the token was made."""
    trust: Path | None
    settings: Settings
    """Of this machine so far: state directory and hypervisor."""
    config: Path
    overwrite: bool


def run(args: argparse.Namespace) -> int:
    """Join, and say how to start the agent. Return the exit status."""
    order = _order(args)
    if not _fit(order):
        return 1
    with share(order.settings.state):
        _demand_name_is_ours(order)
        seed = order.settings.state / KEY_FILE
        public = key_of_file(seed)
        _demand_room(order)
        told = _redeem(order, public, seed)
        _settle(order, told)
    print(f"{order.host} joined {order.url} with the key {fingerprint(public)}; its settings are in {order.config}.")
    _try_the_bus(order)
    print(f"Start its agent: floe agent --config {order.config}")
    if Path("/run/systemd/system").exists():
        print(f"Or have systemd do it: systemctl enable --now floe-agent (whose unit names {CONFIG})")
    return 0


def _order(args: argparse.Namespace) -> Order:
    where = urlsplit(args.url)
    if where.scheme not in {"http", "https"} or not where.hostname or where.query or where.username:
        raise Invalid(f"The cloud's URL is {args.url[:200]!r}; one like https://10.0.0.1:8774 is wanted.")
    if where.scheme == "http" and not _loopback(where.hostname):
        print(
            f"floe: {args.url} is not encrypted: whoever is between could redeem the token first, and this machine be "
            "refused then. Behind a proxy with TLS, use https://.",
            file=sys.stderr,
        )
    word = sys.stdin.readline().strip() if args.token == "-" else args.token  # noqa: S105
    token, _, digest = word.partition(".")
    if not re.fullmatch(r"[0-9a-f]{64}", token) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Invalid("The token is not as `floe host add` prints it: was all of it copied?")
    flags = {name: getattr(args, name) for name in ("state", "hypervisor") if getattr(args, name) is not None}
    settings = load({**flags, "host": demand_name(args.host)}, os.environ)
    return Order(
        url=args.url.rstrip("/"),
        host=args.host,
        token=token,
        bus_digest=digest,
        trust=args.ca,
        settings=replace(settings, state=settings.state.absolute()),
        config=args.config.absolute(),
        overwrite=args.overwrite,
    )


def _fit(order: Order) -> bool:
    """Say whether this machine can be a host, and if not, what it lacks: before anything is changed or asked."""
    settings = order.settings
    findings = doctor.diagnose(doctor.look(settings))
    if settings.hypervisor == "fake":
        findings = [finding for finding in findings if finding.name in {"state directory", "clock"}]
    if doctor.fit(findings):
        warned = [finding for finding in findings if finding.level is Level.WARN]
        for finding in warned:
            print(f"floe: {finding.name}: {_said(finding)}", file=sys.stderr)
        return True
    for finding in findings:
        if finding.level is Level.MISSING:
            print(f"floe: {finding.name}: {_said(finding)}", file=sys.stderr)
    print(
        "floe: This machine lacks what a host needs; the token was not used. `floe doctor` says more.", file=sys.stderr
    )
    return False


def _said(finding: Finding) -> str:
    return f"{finding.what} ({finding.remedy})" if finding.remedy else finding.what


def _demand_name_is_ours(order: Order) -> None:
    known = known_name(order.settings.state, order.host)
    if known != order.host:
        raise Conflict(
            f"The state directory {order.settings.state} is that of host {known!r}, whose guests are known by that "
            f"name: join as {known!r}, or name another directory with --state."
        )


def _demand_room(order: Order) -> None:
    """Refuse settings that would be overwritten, before the token is used."""
    if not order.config.parent.is_dir():
        raise Invalid(
            f"There is no directory {order.config.parent} for the settings; make it, or choose with --config."
        )
    if order.overwrite or not order.config.exists():
        return
    if _told_by(order.config).get("host") != order.host:
        raise Conflict(
            f"{order.config} is there, and not of host {order.host}: with --overwrite it is kept as "
            f"{order.config}.before and written anew; --config chooses another file."
        )


def _told_by(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"{file} is there and cannot be read: {error}") from error


def _redeem(order: Order, public: str, seed: Path) -> Mapping[str, Any]:
    from floe.bus import keys

    signature = keys.sign(seed.read_text(), signed_words(order.host, order.token))
    signed = base64.b64encode(signature).decode()
    body = {"join": {"host": order.host, "token": order.token, "key": public, "signature": signed}}
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            answer, wait = _asked(order, json.dumps(body).encode()), 0.0
        except _Later as later:
            answer, wait = None, later.seconds
            if time.monotonic() + wait > end:
                raise later.error from None
            print(f"floe: {later.error.message} Trying again in {wait:.0f} s.", file=sys.stderr)
            time.sleep(wait)
        if answer is not None:
            return _checked(order, answer)


class _Later(Exception):
    """The cloud may answer if it is asked again."""

    def __init__(self, error: FloeError, seconds: float) -> None:
        super().__init__(error.message)
        self.error, self.seconds = error, seconds


def _asked(order: Order, body: bytes) -> Any:
    try:
        trusted = ssl.create_default_context(cafile=order.trust) if order.url.startswith("https") else None
    except (OSError, ssl.SSLError) as error:
        raise Invalid(f"--ca {order.trust} holds no certificates: {error}") from error
    at = f"{order.url}/floe/v1/join"
    # Its scheme was looked at.
    request = urllib.request.Request(at, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS, context=trusted) as reply:  # noqa: S310
            return json.loads(reply.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        found = refusal(error.code, error.read(_MOST_BYTES).decode("utf-8", "replace"), at)
        if error.code in {429, 503}:
            again = str(error.headers.get("Retry-After", ""))
            raise _Later(found, float(again) if _AGAIN.fullmatch(again) else 5.0) from error
        raise found from error
    except ValueError as error:
        raise Unavailable(f"{at} does not answer as a cloud does: {error}") from error
    except OSError as error:
        unknown = isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError)
        found = Unavailable(f"The cloud at {order.url} does not answer: {error}.")
        if unknown:
            raise Unavailable(f"{found.message} --ca names the certificates to know it by.") from error
        raise _Later(found, 3.0) from error


def _checked(order: Order, answer: Any) -> Mapping[str, Any]:
    """Return what the cloud answered. Raises Unavailable for what is no such answer, and for a bus of somebody else."""
    told = answer.get("join") if isinstance(answer, dict) else None
    if not isinstance(told, dict) or told.get("host") != order.host or not isinstance(told.get("bus"), str):
        raise Unavailable(f"{order.url} does not answer as a cloud does that a host can join.")
    if bus_digest(told["bus"], str(told.get("bus_ca") or "")) != order.bus_digest:
        raise Conflict(
            f"{order.url} names another bus ({told['bus'][:200]}), or other certificates for it, than when the token "
            "was made: they were changed since, or somebody answers in the cloud's place. Have `floe host add` print "
            "another token, and compare where its URL leads."
        )
    return told


def _settle(order: Order, told: Mapping[str, Any]) -> None:
    """Write down what was told: whole files, one after the other, the settings last."""
    state = order.settings.state
    values: dict[str, str] = {"state": str(state), "host": order.host}
    if order.settings.hypervisor != "auto":
        values["hypervisor"] = order.settings.hypervisor
    values |= {name: str(told[name]) for name in _TAKEN if told.get(name)}
    values["bus_key"] = str(state / KEY_FILE)
    if told.get("bus_ca"):
        write_private(state / CA_FILE, str(told["bus_ca"]))
        values["bus_ca"] = str(state / CA_FILE)
    load(values, {})  # what the cloud says makes sense, or is refused here
    host_name(state, order.host)
    if order.config.exists():
        before = _told_by(order.config)
        if all(before.get(name) == value for name, value in values.items()):
            return  # with whatever an operator added
        if not order.overwrite:
            differing = ", ".join(name for name, value in values.items() if before.get(name) != value)
            raise Conflict(
                f"{order.config} is there and says otherwise of {differing}. This host has joined, and the same "
                f"command with --overwrite finishes it: the file is kept as {order.config}.before."
            )
        write_private(order.config.with_name(f"{order.config.name}.before"), order.config.read_text())
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items()]
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    write_private(order.config, f"# Written by `floe agent join {order.url}` at {when}.\n{''.join(lines)}")


def _try_the_bus(order: Order) -> None:
    """Say whether the bus lets us in; that it does not yet is no failure, and the agent waits for it."""
    import asyncio

    from floe.assembly import surroundings

    async def enter() -> None:
        around = surroundings.shared(load({}, {}, order.config), f"join of {order.host}")
        end = time.monotonic() + _BUS_SECONDS
        try:
            await around.open_bus()
        except Unavailable:
            while around.bus.trouble:  # it goes on trying
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.2)
        finally:
            await around.bus.close()

    try:
        asyncio.run(enter())
    except Unavailable as error:
        print(
            f"floe: the bus does not let this machine in yet: {error.message}. Where its server runs, an API with "
            "bus_config, or `floe bus-config --joined`, has to write its file. The agent waits for that.",
            file=sys.stderr,
        )
    else:
        print("The bus lets it in.")


def _loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
