"""Tells of tests as they end: a line of JSON each with `test`, `outcome` (passed, failed or skipped) and `why`.

What runs others' test suites imports it, in an environment of its own: it needs the standard library alone.
"""

from __future__ import annotations

import json
import re
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any


class Told(unittest.TestResult):
    """Writes down each test as it ends, the first thing that went wrong with it being what counts.

    Names are told without `prefix`. A class that cannot be set up, or is skipped, is told of as `CLASS.setUpClass`.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        self.current: unittest.TestCase | None = None

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802  # unittest's name
        super().startTest(test)
        self.current, self.outcome, self.why, self.began = test, "passed", "", time.monotonic()

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802  # unittest's name
        super().stopTest(test)
        self.current = None
        self.tell(test.id(), self.outcome, self.why, time.monotonic() - self.began)

    def _went_wrong(self, test: unittest.TestCase, error: Any) -> None:
        if self.current is None:
            self.tell(_of_class(test), "failed", said(str(error[1])), 0)
        elif self.outcome != "failed":
            self.outcome, self.why = "failed", said(str(error[1]))

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802  # unittest's name
        self._went_wrong(test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802  # unittest's name
        self._went_wrong(test, err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802  # unittest's name
        if self.current is None:
            self.tell(_of_class(test), "skipped", reason, 0)
        else:
            self.outcome, self.why = "skipped", reason

    def tell(self, test: str, outcome: str, why: str, seconds: float) -> None:
        """Write a line."""
        line = {"test": test.removeprefix(self.prefix), "outcome": outcome, "why": why, "seconds": round(seconds, 2)}
        print(json.dumps(line), flush=True)


def said(text: str) -> str:
    """Return the error at the end of a traceback, without the frames that lead there."""
    beside = ("  ", "}}}", "Traceback", "traceback-", "Empty attachments", "During handling", "The above exception")
    said_last = [line for line in text.splitlines() if line.strip() and not line.startswith(beside)]
    ends = [line for line in said_last if not re.match(r"\d{4}-\d\d-\d\d ", line)]  # the client's log
    return (ends[-1] if ends else text)[:1000]


def cases(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Return the tests of a suite, however nested."""
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from cases(each)
        else:
            yield each


def modules(package: ModuleType) -> list[str]:
    """Return the names of the modules with tests that are in a package at any depth, without its own name."""
    folder = Path(next(iter(package.__path__)))
    return sorted(".".join(path.relative_to(folder).with_suffix("").parts) for path in folder.rglob("test_*.py"))


def _of_class(test: unittest.TestCase) -> str:
    """Return `MODULE.CLASS.setUpClass` for what unittest names `setUpClass (MODULE.CLASS)`."""
    method, _, place = test.id().partition(" (")
    return f"{place.rstrip(')')}.{method}" if place else method
