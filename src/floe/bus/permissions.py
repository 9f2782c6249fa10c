"""Who may say and hear what on the bus, as the server's file has it: pure.

A host's key may speak under its own name and hear what is told to it. The control plane's keys may tell hosts, and hear
all of them; they cannot speak for a host.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from floe.bus import subjects
from floe.core.errors import Invalid

_PUBLIC = re.compile(r"U[A-Z2-7]{55}")
_PREFIX = 20 << 3
"""Of a user's public key."""


class Part(StrEnum):
    """Which part somebody plays on the bus."""

    HOST = "host"
    CONTROL = "control"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may connect; one key may stand for several hosts of one process, and for the control plane too."""

    key: str
    part: Part
    name: str


def members(text: str) -> list[Member]:
    """Return who stands in a list: a line each, `KEY host NAME` or `KEY control NAME`; `#` begins a remark.

    Raises Invalid with the line for what is none, and for a name that two keys claim.
    """
    found: list[Member] = []
    owners: dict[tuple[Part, str], tuple[str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        member = _member(line, number)
        key, before = owners.setdefault((member.part, member.name), (member.key, number))
        if key != member.key:
            raise Invalid(
                f"Line {number}: the {member.part} {member.name!r} has another key in line {before}; a name is one "
                "machine's, so remove the line that is out of date."
            )
        if before == number:
            found.append(member)
    return found


def joined_by(listed: Iterable[Member], hosts: Iterable[Member]) -> tuple[list[Member], list[str]]:
    """Return those of a list and the hosts that joined, and the names that joined with another key than the list has.

    Of these the list's counts: an operator wrote it. A key that the list has for the control plane is no host's.
    """
    found = list(listed)
    names = {member.name: member.key for member in found if member.part is Part.HOST}
    control = {member.key for member in found if member.part is Part.CONTROL}
    amiss = []
    for member in hosts:
        if names.get(member.name, member.key) != member.key or member.key in control:
            amiss.append(member.name)
        elif member.name not in names:
            found.append(member)
    return found, amiss


def server_file(those: Iterable[Member]) -> str:
    """Return the part of the server's configuration that lets these in, and nobody else."""
    by_key: dict[str, list[Member]] = {}
    for member in sorted(those, key=lambda member: (member.part, member.name)):
        by_key.setdefault(member.key, []).append(member)
    if not by_key:
        raise Invalid(
            "Nobody is in the list: the server would let everybody in. One line `KEY control NAME` is wanted."
        )
    users = "\n".join(_user(key, own) for key, own in by_key.items())
    return (
        f"# Written by `floe bus-config`; do not edit.\nauthorization {{\n  timeout: 5\n  users: [\n{users}\n  ]\n}}\n"
    )


def _member(line: str, number: int) -> Member:
    words = line.split(maxsplit=2)
    if len(words) < 3 or words[1] not in set(Part):
        raise Invalid(f"Line {number} is {line.strip()[:200]!r}; `KEY host NAME` or `KEY control NAME` is wanted.")
    if not is_public_key(words[0]):
        raise Invalid(
            f"Line {number}: {words[0][:80]!r} is no public nkey of a user, which has 56 characters and begins with U."
        )
    return Member(key=words[0], part=Part(words[1]), name=words[2].strip())


def is_public_key(text: str) -> bool:
    """Say whether it is the public nkey of a user. The server refuses a whole file for one that is not."""
    if not _PUBLIC.fullmatch(text):
        return False
    data = base64.b32decode(text)
    return data[0] == _PREFIX and binascii.crc_hqx(data[:-2], 0) == int.from_bytes(data[-2:], "little")


def signed(key: str, words: bytes, signature: bytes) -> bool:
    """Say whether the holder of a public key, which is one, signed these words."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(base64.b32decode(key)[1:-2]).verify(signature, words)
    except (InvalidSignature, ValueError):
        return False
    return True


def _user(key: str, own: list[Member]) -> str:
    says = json.dumps([subject for member in own for subject in _may_say(member)])
    hears = json.dumps([subject for member in own for subject in _may_hear(member)])
    names = json.dumps(", ".join(f"{member.part} {member.name}" for member in own)[:200])
    permissions = f"{{ publish: {{ allow: {says} }}, subscribe: {{ allow: {hears} }} }}"
    return f"    # {names}\n    {{ nkey: {key}, permissions: {permissions} }}"


def _may_say(member: Member) -> Iterator[str]:
    if member.part is Part.CONTROL:
        yield from ("floe.do.*", "floe.all", "floe.one", "floe.part")
    else:
        host = subjects.token(member.name)
        yield from (f"floe.all.{host}", f"floe.one.{host}", f"floe.part.{host}", f"floe.here.{host}", f"_R.{host}.*.*")


def _may_hear(member: Member) -> Iterator[str]:
    if member.part is Part.CONTROL:
        yield from (*subjects.FOR_ALL, *subjects.FOR_ONE, *subjects.PARTS, subjects.HERE, "_R.*.*.*")
    else:
        yield subjects.commands(member.name)
