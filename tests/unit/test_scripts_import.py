"""What the project's scripts take from Floe and from each other is there: most of them no test runs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def written_in_python() -> Iterator[Path]:
    for path in sorted(SCRIPTS.rglob("*")):
        if path.suffix == ".py" or (path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env python3")):
            yield path


def taken(path: Path) -> Iterator[tuple[str, str]]:
    """Give the modules of ours that a script takes something from, and what."""
    for node in ast.walk(ast.parse(path.read_text())):
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if module.split(".")[0] == "floe" or (SCRIPTS / "lib" / f"{module}.py").exists():
            yield from ((module, name.name) for name in node.names)


def names_in(path: Path) -> set[str]:
    """Return what a file has at its top, not running it."""
    found = set[str]()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(name.asname or name.name.split(".")[0] for name in node.names)
    return found


@pytest.mark.parametrize("path", list(written_in_python()), ids=lambda path: path.name)
def test_what_a_script_takes_is_there(path: Path) -> None:
    for module, name in taken(path):
        local = SCRIPTS / "lib" / f"{module}.py"
        if local.exists():
            assert name in names_in(local), f"{module} has no {name}"
        elif not hasattr(importlib.import_module(module), name):
            assert importlib.util.find_spec(f"{module}.{name}") is not None, f"{module} has no {name}"
