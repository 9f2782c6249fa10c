"""`floe top` shows hosts, conductors and what is being done, in as many lines as there are."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from floe.cli.credentials import clouds, clouds_yaml
from floe.cli.top import Doing, HostLoad, Look, drawn
from floe.core import guest_actions
from floe.core.actions import CREATE, DELETE
from floe.core.servers import TASK_STATES
from floe.testing import EmbeddedCloud


def text(look: Look, lines: int | None, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, markup=False).print(drawn(look, lines=lines))
    return out.getvalue()


def host(number: int, used: int = 0) -> HostLoad:
    amounts = {"vcpus": (used, 64), "memory_mib": (1024 * used, 262144), "disk_gib": (0, 4096)}
    return HostLoad(name=f"h{number}", up=number > 0, enabled=number != 1, servers=used, **amounts)


def doing(number: int) -> Doing:
    return Doing(server=f"id-{number}", name="[bold]\x1b[31mx", state="spawning", host="h1", seconds=number)


def test_hosts_conductors_and_what_is_done_are_shown() -> None:
    look = Look(hosts=(host(2, 32), host(1), host(0)), conductors={"a": True, "b": False}, doing=(doing(7),))
    lines = [line.split() for line in text(look, None).splitlines()]
    assert " ".join(lines[0]) == "hosts: 2 of 3 up servers: 32 conductors: 1 of 2 up now: 1 spawning"
    assert ["h2", "up", "32", "32/64", "32/256", "0/4096", "50%"] in lines
    assert ["h1", "up,", "disabled", "0", "0/64", "0/256", "0/4096", "0%"] in lines
    assert ["h0", "DOWN", "0", "0/64", "0/256", "0/4096", "0%"] in lines
    assert "[bold]" in text(look, None), "what users named is no markup"
    assert "\x1b" not in text(look, None)


@pytest.mark.parametrize("lines", [1, 10, 24, 50])
@pytest.mark.parametrize(("hosts", "busy"), [(0, 0), (1000, 0), (0, 1000), (1000, 1000), (3, 2)])
def test_a_terminal_is_never_overflowed_and_what_is_left_out_is_counted(lines: int, hosts: int, busy: int) -> None:
    look = Look(hosts=tuple(map(host, range(hosts))), conductors={}, doing=tuple(map(doing, range(busy))))
    shown = text(look, lines).splitlines()
    assert len(shown) <= max(lines, 12)
    told = sum(int(line.split()[2]) for line in shown if line.startswith("... and"))
    rows = sum(line.startswith(("h", "id-")) and not line.startswith("host") for line in shown)
    assert told + rows == hosts + busy


def test_all_that_may_be_done_with_a_server_is_asked_for() -> None:
    begun = [CREATE.task_state, DELETE.task_state]
    begun += [kind.task_state for kind in vars(guest_actions).values() if isinstance(kind, guest_actions.OnGuest)]
    assert {state for state in begun if state} <= set(TASK_STATES)


async def test_it_tells_of_a_running_cloud(tmp_path: Path) -> None:
    async with EmbeddedCloud(tmp_path / "state", hosts=2) as cloud:
        file = cloud.folder / "clouds.yaml"
        file.write_text(clouds_yaml(clouds(f"{cloud.url}/identity/v3", "RegionOne", cloud.passwords)))

        async def top(*words: str) -> tuple[int, str, str]:
            command = [sys.executable, "-m", "floe", "top", "--state", str(cloud.folder), *words]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, check=False, timeout=120
            )
            return done.returncode, done.stdout, done.stderr

        status, out, _ = await top()
        assert status == 0
        assert "hosts: 2 of 2 up" in out
        assert "conductors: 1 of 1 up" in out
        assert "nothing is being done" in out
        status, out, _ = await top("--json")
        found = json.loads(out)
        assert [each["name"] for each in found["hosts"]] == ["fake-1", "fake-2"]
        assert (await top("--cloud", "nobody"))[0] == 1
        assert "--seconds must be between 0.2 and 3600" in (await top("--seconds", "0"))[2]
