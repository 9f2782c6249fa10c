"""A machine joins a cluster that runs, by the command that it prints, and leaves it again."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from role_processes import RoleProcess, until

from cluster import Cluster


def floe(*words: object) -> str:
    command = [sys.executable, "-m", "floe", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_machine_joins_and_leaves(cluster: Cluster, tmp_path: Path) -> None:
    def host() -> dict[str, Any] | None:
        found = json.loads(floe("host", "list", "--json", "--state", cluster.state))
        return next((each for each in found if each["name"] == "more"), None)

    config = tmp_path / "floe.toml"
    words = shlex.split(floe("host", "add", "more", "--state", cluster.state))[1:]
    said = floe(*words, "--state", tmp_path / "state", "--config", config, "--hypervisor", "fake")
    assert "The bus lets it in." in said
    agent = RoleProcess(tmp_path, "agent", ["agent", "--config", str(config), "--status-listen", "127.0.0.1:0"], {})
    try:
        until(lambda: (host() or {}).get("state") == "up", lambda: agent.log)
        floe("host", "disable", "more", "--state", cluster.state)
    finally:
        agent.stop()
    until(lambda: (host() or {}).get("state") == "down", lambda: agent.log)
    floe("host", "remove", "more", "--state", cluster.state)
    assert host() is None
