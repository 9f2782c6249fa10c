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
    print(key_of_file(args.file))
    return 0


def key_of_file(file: Path) -> str:
    """Return the public half of the key in a file, which is made if it is not there, for its owner alone.

    Raises Invalid, NotFound, FloeError.
    """
    try:
        from floe.bus import keys
    except ModuleNotFoundError as error:
        raise Invalid(f"{error.name} is missing: pip install 'floe-cloud[nats]' brings what the bus needs.") from error

    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise FloeError(f"{file} cannot be written: {error}") from error
    else:
        with os.fdopen(handle, "w") as stream:
            stream.write(keys.new_seed() + "\n")
    try:
        return keys.public_key(file.read_text())
    except (OSError, ValueError) as error:
        raise NotFound("key", str(file), f"{file} holds no key of a user: {error}") from error
