"""Runs openstacksdk's functional tests, as they come in its package, one after the other.

    python sdk_tests.py [--only PATTERN] [PATTERN...]      what the patterns name is left out

Needs the Python of .venv-sdk. Writes a line of JSON for each test as it ends: `test`, `outcome` (passed, failed or
skipped) and `why`. The clouds come from the environment, as the tests' own documentation says.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
import time
import unittest
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any

import openstack.tests.functional
from openstack.tests.functional.base import BaseFunctionalTest
from openstack.tests.functional.cloud.test_compute import TestCompute
from openstack.tests.functional.compute.v2.base import BaseComputeTest

PREFIX = "openstack.tests.functional."
Failure = tuple[type[BaseException], BaseException, TracebackType | None]


class Told(unittest.TestResult):
    """Writes down each test as it ends, the first thing that went wrong with it being what counts."""

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802  # unittest's name
        super().startTest(test)
        self.outcome, self.why, self.began = "passed", "", time.monotonic()

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802  # unittest's name
        super().stopTest(test)
        tell(test.id(), self.outcome, self.why, time.monotonic() - self.began)

    def _went_wrong(self, error: Any) -> None:
        if self.outcome != "failed":
            self.outcome, self.why = "failed", said(str(error[1]))

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802  # unittest's name
        self._went_wrong(err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802  # unittest's name
        self._went_wrong(err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802  # unittest's name
        self.outcome, self.why = "skipped", reason


def said(text: str) -> str:
    """Return the error at the end of a traceback, without the frames that lead there."""
    beside = ("  ", "}}}", "Traceback", "traceback-", "Empty attachments", "During handling", "The above exception")
    said_last = [line for line in text.splitlines() if line.strip() and not line.startswith(beside)]
    ends = [line for line in said_last if not re.match(r"\d{4}-\d\d-\d\d ", line)]  # the client's log
    return (ends[-1] if ends else text)[:1000]


def tell(test: str, outcome: str, why: str, seconds: float) -> None:
    line = {"test": test.removeprefix(PREFIX), "outcome": outcome, "why": why, "seconds": round(seconds, 2)}
    print(json.dumps(line), flush=True)


def modules() -> list[str]:
    """Return the names of the modules that hold tests."""
    folder = Path(next(iter(openstack.tests.functional.__path__)))
    return sorted(".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("test_*.py"))


def cases(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    """Return the tests of a suite, however nested."""
    found: list[unittest.TestCase] = []
    for each in suite:
        found += cases(each) if isinstance(each, unittest.TestSuite) else [each]
    return found


def compute_without_volumes(test: BaseComputeTest) -> None:
    """Set a test of the compute API up as its own class does, which skips them all where there is no block storage."""
    BaseFunctionalTest.setUp(test)
    test._set_user_cloud(compute_api_version="2")
    test.admin_compute_client = test.operator_cloud.compute
    test.compute_client = test.user_cloud.compute


def clean_up_without_volumes(test: TestCompute, name: str) -> None:
    """Delete a test's server, where its own class first asks for the volumes of it."""
    test.user_cloud.delete_server(name, wait=True)


def main() -> None:
    """Run what is not left out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="*")
    parser.add_argument("left_out", nargs="*")
    args = parser.parse_args()
    sys.argv[1:] = []
    BaseComputeTest.setUp = compute_without_volumes
    TestCompute._cleanup_servers_and_volumes = clean_up_without_volumes
    result = Told()
    for name in modules():
        if any(fnmatchcase(name + ".", pattern) for pattern in args.left_out):
            continue
        try:
            module = importlib.import_module(PREFIX + name)
        except ImportError as error:
            tell(name, "failed", f"it cannot be imported: {error}", 0)
            continue
        for case in cases(unittest.defaultTestLoader.loadTestsFromModule(module)):
            if fnmatchcase(case.id().removeprefix(PREFIX), args.only):
                case.run(result)


main()
