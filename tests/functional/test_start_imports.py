"""What a start reads of other people's code: each module costs every start, and all that is idle memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

START = """
import asyncio, sys
from pathlib import Path
from floe.testing import EmbeddedCloud
import floe.cli.up

async def main():
    async with EmbeddedCloud(Path(sys.argv[1])):
        pass
    first = set(sys.modules)
    print("\\n".join(sorted(first)))

asyncio.run(main())
"""
NOT_AT_A_START = {
    "alembic": "only a schema that is behind needs it",
    "anyio": "nothing here does",
    "asyncpg": "only PostgreSQL needs it",
    "cryptography.x509": "no certificate is read",
    "httpx": "only tests need it",
    "http.server": "nothing here serves by it",
    "http.cookies": "nobody is given any",
    "jinja2": "nothing here does",
    "libvirt": "only real guests need it",
    "mako": "only migrations need it",
    "nats": "the bus is in this process",
    "nkeys": "the bus is in this process",
    "numpy.ma": "no table of hosts has gaps",
    "numpy.random": "lots are drawn by seeds of our own",
    "oslo_utils": "only the disks of images that are uploaded are inspected",
    "prometheus_client": "only /metrics writes by it",
    "psycopg": "the database is SQLite",
    "pycdlib": "only config drives are written by it",
    "rich": "only what is shown in a terminal needs it",
    "sqlalchemy.dialects.postgresql": "the database is SQLite",
    "sqlalchemy.ext.asyncio": "statements are run in threads and on the loop, not by it",
    "sqlalchemy.orm": "rows are no objects that know their database",
    "starlette": "nothing here does",
    "unittest": "only tests need it",
    "urllib.request": "nothing here asks by it",
    "yaml": "clouds.yaml is written without it",
}
"""Modules, and why a start on a state that is there does without them."""


def test_a_start_does_without_what_only_later_needs(tmp_path: Path) -> None:
    for _ in range(2):  # the first makes the schema
        done = subprocess.run(
            [sys.executable, "-c", START, tmp_path / "cloud"], capture_output=True, text=True, check=True
        )
    found = set(done.stdout.split())
    assert "floe.assembly.node" in found
    needless = sorted(found & NOT_AT_A_START.keys())
    assert not needless, {name: NOT_AT_A_START[name] for name in needless}
