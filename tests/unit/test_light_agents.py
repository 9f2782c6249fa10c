"""What a host's agent in a process of its own does without."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASSEMBLED = ("floe.assembly.roles", "floe.assembly.hosts", "floe.assembly.images", "floe.cli.agent")


@pytest.mark.parametrize("module", ASSEMBLED)
def test_what_an_agent_is_made_by_brings_no_database_along(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'sqlite3', 'sqlalchemy', 'psycopg'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
