"""The flags by which a sub-command finds the state directory of a cloud."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from floe.settings import Settings, load


def add_state_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--state` and `--config`, with the meaning they have for `floe up`."""
    parser.add_argument(
        "--state", metavar="DIR", help="state directory of the cloud (default: FLOE_STATE, else /var/lib/floe)"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML file with settings (default: FLOE_CONFIG)")


def state_directory(args: argparse.Namespace) -> Path:
    """Return the state directory that flags, environment and file name, as an absolute path."""
    return chosen_settings(args).state.absolute()


def chosen_settings(args: argparse.Namespace) -> Settings:
    """Return the settings that flags, environment and file give."""
    flags = {} if args.state is None else {"state": args.state}
    return load(flags, os.environ, args.config)
