"""Runs python-openstackclient's functional tests of the compute and network commands, as they come in its package.

    python osc_tests.py [--only PATTERN]

Needs the Python of .venv-osc. Each command is run within this process, where the tests start a program each time: that
is the same code, and a fortieth of the CPU. Tells of each test as `told` says. The clouds come from the environment.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import shlex
import subprocess
import sys
import unittest
from fnmatch import fnmatchcase

from openstackclient.shell import OpenStackShell
from openstackclient.tests.functional import base
from openstackclient.tests.functional.compute import v2 as compute
from openstackclient.tests.functional.network import v2 as network
from tempest.lib.exceptions import CommandFailed
from told import Told, cases, modules

PREFIX = "openstackclient.tests.functional."


def execute(command: str, *, fail_ok: bool = False) -> str:
    """Run `openstack ...`; return what it wrote. Raises CommandFailed."""
    _, *words = shlex.split(command)
    if any(word.startswith("--os-") and word.endswith("-api-version") for word in words):
        return apart(command, words, fail_ok=fail_ok)  # the client does not ask for a second version in one process
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            status = OpenStackShell().run(words)
        except SystemExit as end:  # how its parser refuses
            status = end.code
    if status and not fail_ok:
        raise CommandFailed(status, command, out.getvalue(), errors.getvalue().encode())
    return out.getvalue()


def apart(command: str, words: list[str], *, fail_ok: bool) -> str:
    """Run it as a program of its own. Raises CommandFailed."""
    done = subprocess.run(
        [sys.executable, "-m", "openstackclient.shell", *words], capture_output=True, text=True, check=False
    )
    if done.returncode and not fail_ok:
        raise CommandFailed(done.returncode, command, done.stdout, done.stderr.encode())
    return done.stdout


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="*")
    only = parser.parse_args().only
    sys.argv[1:] = []
    base.execute = execute
    result, chosen = Told(PREFIX), unittest.TestSuite()
    for package in (compute, network):
        for name in modules(package):
            module = importlib.import_module(f"{package.__name__}.{name}")
            for case in cases(unittest.defaultTestLoader.loadTestsFromModule(module)):
                if fnmatchcase(case.id().removeprefix(PREFIX), only):
                    chosen.addTest(case)
    chosen.run(result)  # all in one: that which ends is what takes a class down


main()
