from __future__ import annotations

import io
from datetime import datetime
from typing import Any

from rich.console import Console

from floe.cli.trace import build, table


def _event(name: str, start: str, finish: str | None, **more: str) -> dict[str, Any]:
    day = "2030-01-01T00:00:"
    return {"event": name, "start_time": day + start, "finish_time": finish and day + finish, **more}


CREATE = {
    "action": "create",
    "start_time": "2030-01-01T00:00:00.000000",
    "message": None,
    "events": [
        _event("spawn", "00.010000", "01.000000", result="Success", host="h1"),
        _event("schedule", "00.002000", "00.010000", result="Success", details="h1 of 3"),
    ],
}
NOW = datetime(2030, 1, 1, 0, 0, 3)


def test_steps_come_in_the_order_they_began_with_their_durations() -> None:
    trace = build("s", [CREATE], NOW)
    assert [(row.step, row.start, row.seconds) for row in trace.rows] == [
        ("request", 0.0, 0.0),
        ("schedule", 0.002, 0.008),
        ("spawn", 0.01, 0.99),
    ]
    assert trace.finished
    assert trace.span == 1.0


def test_a_step_that_runs_has_no_duration_and_the_trace_is_not_finished() -> None:
    running = dict(CREATE, events=[_event("spawn", "01.000000", None)])
    trace = build("s", [running], NOW)
    assert not trace.finished
    assert trace.rows[-1].seconds is None
    assert trace.span == 3.0


def test_an_action_without_steps_yet_is_not_finished() -> None:
    assert not build("s", [dict(CREATE, events=[])], NOW).finished


def drawn(columns: int, *actions: dict[str, Any]) -> list[str]:
    console = Console(width=columns, record=True, file=io.StringIO())
    console.print(table(build("s", actions, NOW), columns))
    return console.export_text().splitlines()


def test_the_bars_lie_where_the_steps_lay() -> None:
    lines = drawn(120, CREATE)
    schedule, spawn = (next(line for line in lines if name in line) for name in ("schedule", "spawn"))
    assert schedule.count("█") == 1
    assert spawn.count("█") == 40
    assert "8.0 ms" in schedule
    assert "h1 of 3" in schedule


def test_one_host_is_told_once_and_several_at_each_step() -> None:
    assert "server s on h1" in drawn(100, CREATE)[0]
    lines = drawn(100, CREATE, dict(CREATE, events=[_event("spawn", "01.000000", "01.500000", host="h2")]))
    assert [line.split()[-1] for line in lines if "spawn" in line] == ["h1", "h2"]


def test_a_usual_trace_needs_one_line_of_eighty_columns_for_a_step() -> None:
    events = [
        _event("schedule", "00.002000", "00.010000", host="h1", details="1 of 1 hosts looked at fit"),
        _event("claim", "00.005000", "00.010000", host="h1", details="1 vCPUs, 128 MiB, 1 GiB; 1 ports"),
        _event("spawn", "00.010000", "01.000000", host="h1"),
    ]
    lines = drawn(80, dict(CREATE, events=events))
    assert [line.split()[0] for line in lines[2:]] == ["create", "schedule", "claim", "spawn"]
    assert max(len(line.rstrip()) for line in lines) <= 80
