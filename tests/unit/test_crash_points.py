"""Whatever can be cut short has a test that cuts it short there: steps of workflows, commands and steps of hosts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import floe
from floe.conductor.fleet import ConductorSettings
from floe.conductor.registry import sagas
from floe.core.guest_actions import BY_KIND
from floe.core.messages import Command

SOURCE = Path(floe.__file__).parent
CRASH = Path(__file__).parent.parent / "crash"


def _constant(file: str, name: str) -> Any:
    """Return a constant of a test file, without running the file."""
    for node in ast.parse((CRASH / file).read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    raise AssertionError(f"{file} has no {name}")


def _calls(node: ast.AST, *methods: str) -> Iterator[str]:
    """Yield the first argument of each call of these methods, where it is a text."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in methods:
            first = call.args[0] if call.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def test_every_step_of_every_workflow_is_killed_in_some_test() -> None:
    settings = ConductorSettings()
    plans = sagas(*cast("Any", (None, None, settings)))
    killed = _constant("test_create_and_delete.py", "KILLED_IN")
    # Each of these is killed in `test_every_step.py` alone.
    of_rows = {kind: {kind, "settled"} for kind in BY_KIND}
    of_rows |= {"attach_interface": {"attach", "attached"}, "detach_interface": {"detach", "detached"}}
    of_rows |= {"rebuild": {"fits", "rebuild", "rebuilt"}}
    of_rows |= {"rescue": {"fits", "rescue", "rescued"}, "unrescue": {"unrescue", "unrescued"}}
    moves = {"claim", "stop", "send", "send-ephemeral", "move", "spawn"}
    of_rows |= {"resize": {"resize", "resized"} | moves, "migrate": {"migrated"} | moves}
    of_rows |= {"confirmResize": {"confirmResize", "begin", "destroy", "confirmed"}}
    of_rows |= {"revertResize": {"revertResize", "begin", "destroy", "start", "reverted"}}
    of_rows |= {"createImage": {"snapshot", "settled"}, "createBackup": {"snapshot", "settled"}}
    of_rows |= {"shelve": {"stop", "stopped", "snapshot", "end", "shelved"}}
    of_rows |= {
        "shelveOffload": {"begin", "destroy", "offloaded"},
        "unshelve": {"start", "schedule", "spawn", "active"},
    }
    assert {kind: {step.name for step in saga.leaves()} for kind, saga in plans.items()} == of_rows | {
        kind: set(steps) for kind, steps in killed.items()
    }
    assert set(_constant("test_every_step.py", "SCENES")) == set(plans)


def test_a_step_writes_under_the_name_that_its_plan_gives_it() -> None:
    names = {
        step.name for saga in sagas(*cast("Any", (None, None, ConductorSettings()))).values() for step in saga.leaves()
    }
    trees = [ast.parse(path.read_text()) for path in (SOURCE / "conductor").glob("*.py")]
    written = {name for tree in trees for name in _calls(tree, "transaction", "effect")}
    assert written <= names | {"end"}, "a transaction of a step that no plan has: it would be done again after a crash"


def test_every_command_to_a_host_is_killed_in_some_test() -> None:
    killed = _constant("test_hosts.py", "KILLED_IN")
    assert set(killed) == {kind.__name__ for kind in Command.__args__}


def test_every_step_of_every_command_is_killed_in_some_test() -> None:
    killed = _constant("test_hosts.py", "KILLED_IN")
    tree = ast.parse((SOURCE / "agent" / "guests.py").read_text())
    steps = {
        function.name: set(_calls(function, "step"))
        for function in ast.walk(tree)
        if isinstance(function, ast.AsyncFunctionDef)
    }
    found = {name: names for name, names in steps.items() if names}
    parts = ("spawn", "_clear", "make_disks", "make_files", "_make_ports")
    spawn = {step for part in parts for step in found.pop(part)}
    assert spawn == set(killed["Spawn"])
    assert found.pop("destroy") == set(killed["Destroy"])
    assert found == {}, "a command with steps that no crash test names"
