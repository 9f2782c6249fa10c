"""`floe audit`: is everything as it must be, in the rows and on the hosts; `--repair` mends what is safe."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from floe.cli import clouds_file
from floe.cli.client import Client
from floe.cli.state_option import add_state_arguments, state_directory
from floe.core.errors import FloeError

if TYPE_CHECKING:
    from rich.table import Table

_AUDIT = "/floe/v1/audit"
_REPAIR_SECONDS = 600
"""A repair waits for hosts that destroy guests, one after the other."""

_PIPE_COLUMNS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument("--repair", action="store_true", help="mend what is safe, and print what was done and is left")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print what is found; exit status 1 when any of it remains, 2 when the cloud cannot be asked."""
    try:
        client = Client(clouds_file.access(state_directory(args))[clouds_file.ADMIN])
        answer = client.post(f"{_AUDIT}/repair", seconds=_REPAIR_SECONDS) if args.repair else client.get(_AUDIT)
    except FloeError as error:
        print(f"floe: {error.message}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        report(answer)
    return 1 if answer["violations"] else 0


def report(answer: dict[str, Any]) -> None:
    """Print an answer of the cloud for people: what was done, what that mended, what is left or found."""
    from rich.console import Console

    # What is not for eyes but for `grep` or a mail keeps a line for each violation.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    for text in answer.get("done", ()):
        console.print(f"done: {text}", soft_wrap=True)
    if answer.get("mended"):
        console.print(table("mended", answer["mended"]))
    if answer["violations"]:
        console.print(table("left" if "done" in answer else "found", answer["violations"]))
    elif answer.get("mended"):
        console.print("nothing is left")
    else:
        console.print("nothing found")
    if answer.get("count", 0) > len(answer["violations"]):
        console.print(f"{answer['count']} in all; these are the first {len(answer['violations'])}")


def table(title: str, violations: Sequence[dict[str, str]]) -> Table:
    """Draw violations, one line each."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, title=f"{title}: {len(violations)}", title_justify="left")
    drawn.add_column("rule", overflow="fold")
    drawn.add_column("subject", no_wrap=True)  # to be copied whole
    drawn.add_column("what", overflow="fold")
    for item in violations:
        drawn.add_row(Text(item["rule"]), Text(item["subject"]), Text(item["text"]))
    return drawn
