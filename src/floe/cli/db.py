"""`floe db`: the schema of the database, and copies of it, while no cloud is at work."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from floe.cli.state_directory import hold
from floe.cli.state_option import add_state_arguments, chosen_settings
from floe.core.errors import Conflict, Invalid
from floe.store import copying, migrate

_SQLITE = "sqlite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    deeds = parser.add_subparsers(dest="deed", required=True, metavar="current | upgrade | check | copy")
    for name, text in (
        ("current", "print the version of its schema, and that of this release"),
        ("upgrade", "bring its schema to this release; the release before goes on working on it"),
        ("check", "say whether it is as this release would have it; exit status 1 if not"),
        ("copy", "copy everything to another, empty database, and check that all came"),
    ):
        deed = deeds.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        add_state_arguments(deed)
        if name == "copy":
            either = f"{_SQLITE} (that of the state directory) or postgresql://..."
            deed.add_argument("--from", dest="source", default=_SQLITE, metavar="DATABASE", help=either)
            deed.add_argument("--to", dest="target", required=True, metavar="DATABASE", help=either)
        else:
            deed.add_argument("--database", metavar="URL", help="a PostgreSQL (default: as the settings say)")


def run(args: argparse.Namespace) -> int:
    """Do it, and return the exit status."""
    settings = chosen_settings(args)
    file = settings.state.absolute() / "floe.db"
    if args.deed == "copy":
        return _copy(file, args.source, args.target)
    where: migrate.Where = args.database or settings.database or file
    if args.deed == "upgrade":
        migrate.ensure(where)
    found = migrate.current(where)
    if args.deed == "check":
        amiss = copying.check(where)
        for each in amiss:
            print(f"{migrate.shown(where)}: {each}")
        return 1 if amiss else 0
    print(f"{found or 'none'} (this release: {migrate.HEAD})")
    return 0


def _copy(file: Path, source: str, target: str) -> int:
    if source == target:
        raise Invalid(f"--from and --to are the same: {source}.")
    known = {_SQLITE: file}
    wheres: list[migrate.Where] = [known.get(word, word) for word in (source, target)]
    if file in wheres and not file.parent.exists():
        raise Conflict(f"There is no state directory {file.parent}: name it with --state.")
    with ExitStack() as held:
        if file in wheres:
            held.enter_context(hold(file.parent))
        counts = copying.copy(wheres[0], wheres[1], _tell)
    print(f"{sum(counts.values())} rows of {len(counts)} tables are in {migrate.shown(wheres[1])}.")
    return 0


def _tell(table: str, rows: int) -> None:
    if rows and sys.stderr.isatty():
        print(f"{table}: {rows} rows", file=sys.stderr)
