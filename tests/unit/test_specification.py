"""Every promise names tests that enforce it, and they are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROMISE = re.compile(r"^(\d+)\. (.+)$")
TEST = re.compile(r"^   - `(tests/[\w/]+\.py)::(\w+)`$")


def promises() -> dict[str, list[tuple[str, str]]]:
    """Return the tests of each promise, by its number."""
    found: dict[str, list[tuple[str, str]]] = {}
    number = ""
    for line in (ROOT / "docs" / "SPECIFICATION.md").read_text().splitlines():
        if promise := PROMISE.match(line):
            number = promise[1]
            found[number] = []
        elif test := TEST.match(line):
            found[number].append((test[1], test[2]))
        else:
            assert "tests/" not in line, f"this line is not read as naming a test: {line}"
    return found


def test_the_promises_are_numbered_without_a_gap() -> None:
    assert list(promises()) == [str(number) for number in range(1, 16)]


@pytest.mark.parametrize("number", promises())
def test_a_promise_names_tests_that_exist(number: str) -> None:
    tests = promises()[number]
    assert tests, f"nothing enforces promise {number}"
    for file, name in tests:
        tree = ast.parse((ROOT / file).read_text())
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in names, f"{file} has no test {name}"
