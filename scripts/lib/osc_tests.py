"""Runs python-openstackclient's functional tests of the network commands, as they come in its package, one by one.

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
import sys
import unittest
from fnmatch import fnmatchcase

from openstackclient.shell import OpenStackShell
from openstackclient.tests.functional import base
from openstackclient.tests.functional.network import v2
from tempest.lib.exceptions import CommandFailed
from told import Told, cases, modules

PREFIX = "openstackclient.tests.functional."


def execute(command: str, *, fail_ok: bool = False) -> str:
    """Run `openstack ...`; return what it wrote. Raises CommandFailed."""
    _, *words = shlex.split(command)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            status = OpenStackShell().run(words)
        except SystemExit as end:  # how its parser refuses
            status = end.code
    if status and not fail_ok:
        raise CommandFailed(status, command, out.getvalue(), errors.getvalue())
    return out.getvalue()


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="*")
    only = parser.parse_args().only
    sys.argv[1:] = []
    base.execute = execute
    result, chosen = Told(PREFIX), unittest.TestSuite()
    for name in modules(v2):
        module = importlib.import_module(f"{v2.__name__}.{name}")
        for case in cases(unittest.defaultTestLoader.loadTestsFromModule(module)):
            if fnmatchcase(case.id().removeprefix(PREFIX), only):
                chosen.addTest(case)
    chosen.run(result)  # all in one: that which ends is what takes a class down


main()
