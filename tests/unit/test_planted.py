"""How bugs are planted: through seams, so that each goes on being the bug that its text says."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import floe
from floe.simulation.parts import Parts
from floe.simulation.planted import PLANTED
from floe.simulation.planting import Change, Plant, Planted, both, patched, through

FOLDER = Path(floe.__file__).parent / "simulation"
FILES = sorted(FOLDER.glob("planted*.py"))
CHANGES = [(bug.name, change) for bug in PLANTED for change in bug.plant.changes]
SEAMS = (
    "a planted bug comes in through a seam: a part of a `World` (`Parts`: bus, hypervisor, plan, ...), or a public"
    " function in the place of one (`patched`); plant it by another way that breaks the same promise, or give the"
    " product the seam where it reads better with it"
)


def private_uses(text: str) -> Iterator[str]:
    """Give what a module touches that is private to another: names that begin with one underscore."""
    tree = ast.parse(text)
    own = {inner for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if not (node in own and isinstance(node.value, ast.Name) and node.value.id == "self"):
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and private(node.value):
            yield f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.ImportFrom):
            yield from (f"line {node.lineno}: {alias.name}" for alias in node.names if private(alias.name))


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.isidentifier()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_bug_is_planted_in_what_is_private(path: Path) -> None:
    assert list(private_uses(path.read_text())) == [], SEAMS


def test_what_is_private_is_seen() -> None:
    assert sorted(private_uses('from a import _b\npatched((A, "_c", d))\nx = A._e\ndef f(self): self._g')) == [
        "line 1: _b",
        "line 2: '_c'",
        "line 3: A._e",
        "line 4: self._g",
    ]
    assert list(private_uses("class A:\n    def f(self): return self._g\ndef _own(): return A.__call__")) == []


@pytest.mark.parametrize(("bug", "change"), CHANGES, ids=[f"{name}-{change.name}" for name, change in CHANGES])
def test_what_is_planted_takes_what_it_replaces_takes(bug: str, change: Change) -> None:
    """Else its own TypeError would be found, and not the bug."""
    real, planted = getattr(change.where, change.name), change.make({})
    if not callable(real):
        assert type(planted) is type(real)
        return
    assert inspect.iscoroutinefunction(planted) == inspect.iscoroutinefunction(real)
    for least in (True, False):
        positional, named = arguments(inspect.signature(real), least=least)
        inspect.signature(planted).bind(*positional, **named)


def arguments(signature: inspect.Signature, *, least: bool) -> tuple[list[Any], dict[str, Any]]:
    """Return all that a function can be given, or what it has to be."""
    given = [one for one in signature.parameters.values() if not least or one.default is one.empty]
    return (
        [None for one in given if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)],
        {one.name: None for one in given if one.kind is one.KEYWORD_ONLY},
    )


def test_each_bug_has_a_name_of_its_own_and_changes_something() -> None:
    names = [bug.name for bug in PLANTED]
    assert len(set(names)) == len(names)
    assert [bug.name for bug in PLANTED if not bug.plant.changes and bug.plant.parts == Parts()] == []


class Clock:
    def now(self) -> int:
        return 1


def test_a_bug_is_there_for_as_long_as_it_is_planted_and_remembers_nothing_of_the_run_before() -> None:
    bug = Planted("late", "", both(patched((Clock, "now", lambda _self: 2)), through(boot_id=lambda *_: "x")))
    with bug.plant.there() as parts:
        assert Clock().now() == 2
        assert parts.boot_id("h1", 1) == "x"
        assert parts.bus is Parts().bus
    assert Clock().now() == 1
    memories = []
    remembers = Plant(
        changes=(Change(Clock, "now", lambda memory: memories.append(dict(memory)) or memory.update(a=1)),)
    )
    for _ in range(2):
        with remembers.there():
            pass
    assert memories == [{}, {}]
