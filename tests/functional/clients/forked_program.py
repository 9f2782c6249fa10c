"""Runs a Python program time after time: its modules are read once, and each run is a fork that has read nothing else.

Its own interpreter runs this, as `forked_program.py PROGRAM SOCKET PACKAGE`, with `SOCKET` the number of a socket that
one packet comes in by for each run: words and surroundings, and where to write output, errors and the exit status.
It ends with who holds the other end.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys

LONGEST = 1 << 16
"""Bytes of what is said of one run."""


def read(package: str) -> None:
    """Read all modules of a package, but for its tests."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if ".tests" not in module.name:
            importlib.import_module(module.name)


def run(program: str, told: bytes, out: int, err: int) -> int:
    """Run the program as a process of its own would; return its exit status."""
    words, folder, environ = json.loads(told)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [program, *words]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def main() -> None:
    """Run what is asked for, until nobody can ask any more."""
    program, number, package = sys.argv[1:]
    asked = socket.socket(fileno=int(number))
    read(package)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the runs: they say themselves how they end
    while True:
        told, files, _, _ = socket.recv_fds(asked, LONGEST, 3)
        if not told:
            return
        if os.fork() == 0:
            status = 1
            try:
                asked.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                out, err, ended = files
                status = run(program, told, out, err)
                sys.stdout.flush()
                sys.stderr.flush()
                os.write(ended, b"%d" % status)
            finally:
                os._exit(status)
        for file in files:
            os.close(file)


main()
