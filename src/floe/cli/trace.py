"""`floe trace`: how a server came to be, step by step, with the time that each step took."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from floe.cli import clouds_file
from floe.cli.client import Client
from floe.cli.state_option import add_state_arguments, state_directory

if TYPE_CHECKING:
    from rich.table import Table

_BAR = (12, 40)
"""The least and the greatest width of the bars; between them they take what a line has left."""
_BESIDES = 68
"""Columns of a line besides the bar: step, start, duration, and remarks of a usual length."""
_POLL_SECONDS = 0.25
_TRACE = "/floe/v1/servers/{server}/trace?limit={limit}"
_ALL_ACTIONS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a trace: seconds since the request, and how long; `seconds` is None while it runs."""

    action: str
    step: str
    start: float
    seconds: float | None
    result: str
    host: str
    details: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The actions of a server in order, each with its steps."""

    server_id: str
    rows: tuple[Row, ...]
    finished: bool
    span: float
    """Seconds from the first request shown to the last thing that happened."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument(
        "--cloud", metavar="NAME", default="floe-admin", help="whose eyes to see with (default: floe-admin)"
    )
    parser.add_argument("--follow", action="store_true", help="go on until what is being done is done")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.add_argument("--all", action="store_true", help="all actions of the server, not only the latest")
    parser.add_argument("server", metavar="SERVER", help="id or name of the server")


def run(args: argparse.Namespace) -> int:
    """Print the trace; with `--follow`, until the action has ended. Exit status 1 if it ended in an error."""
    access = clouds_file.access(state_directory(args))
    client = Client(clouds_file.entry(access, args.cloud))
    server = client.server_id(args.server)
    if args.json:
        trace = _follow_quietly(client, server, args)
        print(json.dumps(_plain(trace), indent=1))
    elif args.follow:
        trace = _follow(client, server, args)
    else:
        trace = read(client, server, every=args.all)
        _print(trace)
    return 1 if any(row.result == "Error" for row in trace.rows) else 0


def read(client: Client, server: str, *, every: bool = False) -> Trace:
    """Return the trace of a server: of its latest action, or of `every` one."""
    actions = client.get(_TRACE.format(server=server, limit=_ALL_ACTIONS if every else 1))["actions"]
    return build(server, actions, datetime.now(UTC).replace(tzinfo=None))


def build(server: str, actions: Sequence[dict[str, Any]], now: datetime) -> Trace:
    """Turn actions and their events, as the API shows them, into a trace."""
    if not actions:
        return Trace(server_id=server, rows=(), finished=True, span=0.0)
    zero = min(_time(action["start_time"]) for action in actions)
    rows, last, finished = [], zero, True
    for action in actions:
        began = _time(action["start_time"])
        rows.append(_row(action["action"], "request", began, began, zero, {"details": action.get("message")}))
        for event in sorted(action["events"], key=lambda event: event["start_time"]):
            start = _time(event["start_time"])
            end = _time(event["finish_time"]) if event.get("finish_time") else None
            finished = finished and end is not None
            last = max(last, end or now)
            rows.append(_row(action["action"], event["event"], start, end, zero, event))
    if rows and rows[-1].step == "request":
        finished = False
    return Trace(server_id=server, rows=tuple(rows), finished=finished, span=max((last - zero).total_seconds(), 1e-6))


def table(trace: Trace, columns: int = 80) -> Table:
    """Draw a trace in lines of so many `columns`: one line a step, its bar where it lay in the whole."""
    from rich.table import Table
    from rich.text import Text

    bar = min(max(columns - _BESIDES, _BAR[0]), _BAR[1])
    hosts = {row.host for row in trace.rows if row.host}
    title = f"server {trace.server_id}" + (f" on {min(hosts)}" if len(hosts) == 1 else "")
    drawn = Table(box=None, pad_edge=False, title=title, title_justify="left")
    drawn.add_column("step", no_wrap=True)
    drawn.add_column("start", justify="right", no_wrap=True)
    drawn.add_column("took", justify="right", no_wrap=True)
    drawn.add_column("", no_wrap=True, min_width=bar, max_width=bar)
    drawn.add_column("")
    for row in trace.rows:
        name = f"{row.action}" if row.step == "request" else f"  {row.step}"
        style = "bold" if row.step == "request" else "red" if row.result == "Error" else ""
        host = f"on {row.host}" if row.host and len(hosts) > 1 else ""
        remark = " ".join(part for part in (host, row.details) if part)
        took = "..." if row.seconds is None else "" if row.step == "request" else _duration(row.seconds)
        drawn.add_row(
            Text(name, style),
            _duration(row.start),
            took,
            Text(_bar(row, trace.span, bar), "cyan"),
            Text(remark, "dim"),
        )
    return drawn


def _bar(row: Row, span: float, width: int) -> str:
    if row.step == "request":
        return ""
    seconds = span - row.start if row.seconds is None else row.seconds
    start = min(int(row.start / span * width), width - 1)
    return " " * start + "█" * max(1, min(round(seconds / span * width), width - start))


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _print(trace: Trace) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(table(trace, console.width))


def _follow(client: Client, server: str, args: argparse.Namespace) -> Trace:
    """Draw the trace anew while it grows, where there is a terminal; elsewhere only as it is in the end."""
    from rich.live import Live

    if not sys.stdout.isatty():
        trace = _follow_quietly(client, server, args)
        _print(trace)
        return trace
    with Live(auto_refresh=False) as live:
        while True:
            trace = read(client, server, every=args.all)
            live.update(table(trace, live.console.width), refresh=True)
            if trace.finished:
                return trace
            time.sleep(_POLL_SECONDS)


def _follow_quietly(client: Client, server: str, args: argparse.Namespace) -> Trace:
    trace = read(client, server, every=args.all)
    while args.follow and not trace.finished:
        time.sleep(_POLL_SECONDS)
        trace = read(client, server, every=args.all)
    return trace


def _plain(trace: Trace) -> dict[str, Any]:
    rows = [{name: getattr(row, name) for name in Row.__slots__} for row in trace.rows]
    return {"server": trace.server_id, "finished": trace.finished, "span": trace.span, "steps": rows}


def _row(action: str, step: str, start: datetime, end: datetime | None, zero: datetime, event: dict[str, Any]) -> Row:
    return Row(
        action=action,
        step=step,
        start=(start - zero).total_seconds(),
        seconds=None if end is None else (end - start).total_seconds(),
        result=event.get("result") or "",
        host=event.get("host") or "",
        details=event.get("details") or "",
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
