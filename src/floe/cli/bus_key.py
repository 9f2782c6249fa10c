"""`floe bus-key`: a key for the bus between machines."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from floe.core.errors import FloeError, Invalid, NotFound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="of the secret half; made if it is not there")


def run(args: argparse.Namespace) -> int:
    """Print the public half."""
    try:
        from floe.bus import keys
    except ModuleNotFoundError as error:
        raise Invalid(f"{error.name} is missing: pip install 'floe-cloud[nats]' brings what the bus needs.") from error

    try:
        handle = os.open(args.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise FloeError(f"{args.file} cannot be written: {error}") from error
    else:
        with os.fdopen(handle, "w") as file:
            file.write(keys.new_seed() + "\n")
    try:
        print(keys.public_key(args.file.read_text()))
    except (OSError, ValueError) as error:
        raise NotFound("key", str(args.file), f"{args.file} holds no key of a user: {error}") from error
    return 0
