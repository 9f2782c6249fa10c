"""`floe purge`: have a running cloud forget what was over before a day, and say what went, by table."""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from floe.cli import clouds_file
from floe.cli.client import Client
from floe.cli.state_option import add_state_arguments, state_directory
from floe.core.errors import FloeError, Invalid

_PURGE = "/floe/v1/purge"
_SECONDS = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument(
        "--before",
        required=True,
        metavar="DATE|DAYS",
        help="what was over then: a date like 2030-01-31 (with a time: in UTC), or so many days ago",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and leave it")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the rows that went by table; exit status 2 when the cloud cannot be asked, or refuses."""
    try:
        before = moment(args.before, datetime.now(UTC))
        client = Client(clouds_file.access(state_directory(args))[clouds_file.ADMIN])
        rows = purge(client, before, dry_run=args.dry_run, show=sys.stderr.isatty() and not args.json)
    except FloeError as error:
        print(f"floe: {error.message}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"before": before.isoformat(), "dry_run": args.dry_run, "rows": rows}, indent=1))
    else:
        report(rows, before, dry_run=args.dry_run)
    return 0


def moment(text: str, now: datetime) -> datetime:
    """Read a date, a date with a time, or a number of days ago. Raises Invalid."""
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
            return now - timedelta(days=float(text))
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"--before must be a date like 2030-01-31, or a number of days (it is {text!r}).") from None


def purge(client: Client, before: datetime, *, dry_run: bool, show: bool) -> dict[str, int]:
    """Ask the cloud until nothing is left; return the rows by table. With `show`, tell how far it is."""
    rows: dict[str, int] = {}
    finished = False
    while not finished:
        body = {"purge": {"before": before.isoformat(), "dry_run": dry_run}}
        answer: dict[str, Any] = client.post(_PURGE, body, seconds=_SECONDS)["purge"]
        for table, number in answer["rows"].items():
            rows[table] = rows.get(table, 0) + number
        finished = answer["finished"]
        if show:
            print(f"\r{sum(rows.values())} rows", end="" if not finished else "\r", file=sys.stderr, flush=True)
    return rows


def report(rows: dict[str, int], before: datetime, *, dry_run: bool) -> None:
    """Print the rows by table, for people."""
    said = "would go" if dry_run else "went"
    total = f"{sum(rows.values())} rows {said}" if rows else "nothing is there"
    print(f"of what was over before {before:%Y-%m-%d %H:%M:%S} UTC {total}")
    for table in sorted(rows):
        print(f"{rows[table]:>10}  {table}")
