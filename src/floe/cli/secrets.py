"""What is made at random once and read by its owner alone: passwords and the keys of tokens."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Secrets:
    """Passwords by user name, and Fernet keys for tokens, the one that signs first."""

    passwords: dict[str, str]
    token_keys: tuple[bytes, ...]


def load_or_make(state: Path, users: tuple[str, ...] = ("admin", "demo")) -> Secrets:
    """Return the secrets of a state directory, making them at the first start: on the disk before they are used."""
    file = state / "secrets.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    passwords = dict(found.get("passwords", {}))
    keys = list(found.get("token_keys", []))
    missing = [user for user in users if user not in passwords]
    if missing or not keys:
        passwords |= {user: secrets.token_urlsafe(18) for user in missing}
        keys = keys or [base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()]
        write_private(file, json.dumps({"passwords": passwords, "token_keys": keys}, indent=1) + "\n")
    return Secrets(passwords, tuple(key.encode() for key in keys))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read; the old content or the new one is there at every instant."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)  # of a process with our number that died
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
