"""What the commands share that serve until they are told to stop: settings, a socket, being ready."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path

from floe.core.errors import Conflict
from floe.settings import Settings, load

log = logging.getLogger(__name__)


def add_settings(parser: argparse.ArgumentParser, *, but: Collection[str] = ()) -> None:
    """Declare a flag for every setting but some."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the same settings (fake_hosts = 3)")
    for setting in (each for each in fields(Settings) if each.name not in but):
        flag = "--" + setting.name.replace("_", "-")
        text = setting.metadata["help"]
        if setting.default is False:
            parser.add_argument(flag, action="store_true", default=None, help=text)
        else:
            shown = f"{text} (default: {setting.default})" if setting.default not in ("", None) else text
            parser.add_argument(flag, metavar=setting.metadata["metavar"], help=shown)


def settings_of(args: argparse.Namespace, **fixed: str) -> Settings:
    """Return the settings that the command line, the environment and the file give together, and some that are fixed.

    The state directory is an absolute path in them.
    """
    names = {setting.name for setting in fields(Settings)}
    flags = {name: value for name, value in vars(args).items() if name in names and value is not None}
    settings = load({**flags, **fixed}, os.environ, args.config)
    return replace(settings, state=settings.state.absolute())


def bind(setting: str, address: tuple[str, int]) -> socket.socket:
    """Return a socket that listens at an address, which a setting names. Raises Conflict."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Conflict(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --{setting.replace('_', '-')}."
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def within(outer: socket.socket) -> list[socket.socket]:
    """Return what listens at the same loopback address of the sandbox that this process has entered since.

    So clients that `floe exec` runs find the cloud where they find it outside. Nothing for other addresses, which
    guests might reach there, nor where something in the sandbox has the port.
    """
    host, port = outer.getsockname()[:2]
    if not ipaddress.ip_address(host).is_loopback:
        return []
    try:
        return [bind("listen", (host, port))]
    except Conflict as error:
        log.warning("clients that floe exec runs cannot reach the API: %s", error)
        return []


def url_of(listener: socket.socket) -> str:
    """Return the URL of what a socket listens for."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def told_to_stop() -> asyncio.Event:
    """Return what is set when this process is told to stop.

    uvicorn takes these signals over while it serves, and raises them once more when it has stopped.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping
