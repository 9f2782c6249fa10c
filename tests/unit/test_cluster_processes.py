"""The processes of a cluster are found by their mark, whatever they are at."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cluster_processes import marked, running


def test_a_process_is_found_while_it_becomes_another_program(tmp_path: Path) -> None:
    """It has neither words nor environment for a moment then, and was taken for one that ended."""
    for _ in range(15):
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "cat"],
            stdin=subprocess.PIPE, env={**os.environ, **marked(tmp_path, "x")}, start_new_session=True,
        )  # fmt: skip
        found = [running(tmp_path) for _ in range(20)]
        process.communicate()
        assert found == [{"x": process.pid}] * 20
