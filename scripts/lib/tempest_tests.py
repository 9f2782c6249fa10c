"""Runs tests of Tempest, as they come in its package, one after the other.

    python tempest_tests.py PATTERN...            those that are named: MODULE.CLASS.METHOD without `tempest.`
    python tempest_tests.py --regex EXPRESSION... those whose whole name, with Tempest's tags, an expression is found in

Needs the Python of .venv-tempest. Tells of each test as `told` says. Tempest's configuration comes from the environment
(TEMPEST_CONFIG_DIR). A pattern that names no test is told of as failed.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import unittest
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import tempest
from told import Told, cases

PREFIX = "tempest."
FOLDERS = ("api", "serial_tests", "scenario")


def modules() -> Iterator[str]:
    """Return the names of the modules that hold tests."""
    folder = Path(next(iter(tempest.__path__)))
    for part in FOLDERS:
        for path in sorted((folder / part).rglob("test_*.py")):
            yield ".".join(path.relative_to(folder).with_suffix("").parts)


def may_hold(module: str, pattern: str) -> bool:
    """Whether a module may hold tests of such names."""
    return fnmatchcase(module, _module_of(pattern, module.count(".") + 1))


def _module_of(pattern: str, parts: int) -> str:
    """Return what a pattern says of the names of modules that have so many parts."""
    return ".".join(pattern.split(".")[:parts])


def name_of(test: unittest.TestCase) -> str:
    """Return the name of a test, without the tags that Tempest writes behind it."""
    return test.id().removeprefix(PREFIX).partition("[")[0]


class Plain(Told):
    """Tells of tests without Tempest's tags."""

    def tell(self, test: str, outcome: str, why: str, seconds: float) -> None:
        super().tell(test.partition("[")[0], outcome, why, seconds)


def main() -> None:
    """Run what is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--regex", action="store_true")
    parser.add_argument("patterns", nargs="+")
    args = parser.parse_args()
    patterns = args.patterns
    sys.argv[1:] = []
    result, unused = Plain(PREFIX), set(patterns)
    chosen = unittest.TestSuite()
    for name in modules():
        if not args.regex and not any(may_hold(name, each) for each in patterns):
            continue
        found = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(PREFIX + name))
        for case in cases(found):
            if args.regex:
                hits = {each for each in patterns if re.search(each, case.id())}
            else:
                hits = {each for each in patterns if fnmatchcase(name_of(case), each)}
            unused -= hits
            if hits:
                chosen.addTest(case)
    chosen.run(result)  # all in one: that which ends is what takes a class down
    for pattern in sorted(unused):
        result.tell(pattern, "failed", "no test has such a name", 0)


main()
