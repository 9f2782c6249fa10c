"""What is given a connection is a pure function of the database and its arguments: it may run twice.

Looked at is every function that takes a connection, and whatever functions of ours it calls, at any depth.
"""

from __future__ import annotations

import ast
import builtins
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
ROOMS = ("cloud", "conductor", "core", "scheduler", "store")
ENGINES = {"floe.store.engine", "floe.store.memory", "floe.store.prepared", "floe.store.repeated", "floe.store.readers"}
"""Those that run such functions; what they note of them is their business."""

TIME = {"now", "monotonic", "time", "perf_counter", "sleep"}
CHANCE = {
    *(
        "new_id",
        "random_id",
        "uuid1",
        "uuid4",
        "urandom",
        "token_hex",
        "token_bytes",
        "token_urlsafe",
        "choice",
        "random",
    ),
    *("randrange", "getrandbits", "shuffle", "generate_key", "encrypt"),
}
WORLD = {
    "nudge",
    "network_nudge",
    "open",
    "publish",
    "request",
    "create_task",
    "ensure_future",
    "warning",
    "info",
    "error",
}
CHANGES = {
    *("append", "appendleft", "extend", "add", "update", "pop", "popitem", "clear", "remove", "insert", "setdefault"),
    *("discard", "sort", "write", "put", "notice", "learn", "took"),
}
PASSES = {
    ("floe.cloud.idempotency", "keep"): "what is sealed has salt in it, which nobody ever sees",
    ("floe.cloud.sealing", "box"): "it remembers which keys there are",
    ("floe.conductor.flow", "Flow.transaction.work"): "it measures how long it took, for the trace",
    ("floe.conductor.placing", "Placing._claim"): "it measures how long it took, for the trace",
    (
        "floe.conductor.reservations",
        "Reservations._claim",
    ): "the same; it empties its caller's dict before it fills it",
}


@dataclass(slots=True)
class Function:
    """A function of ours: where it is, what is wrong with it alone, and what it calls."""

    module: str
    name: str
    line: int
    connected: bool
    faults: list[str] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)


def functions(module: str, text: str) -> list[Function]:
    """Return all functions of a module, those inside of others too."""
    tree = ast.parse(text)
    imported: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported |= {item.asname or item.name: (node.module, item.name) for item in node.names}
        elif isinstance(node, ast.Import):
            imported |= {item.asname or item.name.partition(".")[0]: (item.name, "") for item in node.names}
    return list(_functions(module, tree, imported, "", ""))


def _functions(
    module: str, node: ast.AST, imported: Mapping[str, tuple[str, str]], path: str, owner: str
) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        inner, within = path, owner
        if isinstance(child, ast.ClassDef):
            inner = within = f"{path}{child.name}."
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            name = f"{path}{getattr(child, 'name', f'<lambda {child.lineno}>')}"
            inner = f"{name}."
            yield _function(module, child, imported, name, owner)
        yield from _functions(module, child, imported, inner, within)


def _function(
    module: str,
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
    imported: Mapping[str, tuple[str, str]],
    name: str,
    owner: str,
) -> Function:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    named = {each.arg for each in arguments}
    connected = any(
        each.arg in {"conn", "_conn"} or (isinstance(each.annotation, ast.Name) and each.annotation.id == "Connection")
        for each in arguments
    )
    made = Function(module, name, node.lineno, connected)
    inside = list(_inside(node))
    own = {each.id for each in inside if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    for each in inside:
        if isinstance(each, ast.Nonlocal | ast.Global):
            made.faults.append(f"binds {', '.join(each.names)} of somebody else")
        elif isinstance(each, ast.Attribute | ast.Subscript) and not isinstance(each.ctx, ast.Load):
            if _root(each) not in own:
                made.faults.append(f"sets {ast.unparse(each)}")
        elif isinstance(each, ast.Call) and not _is_statement(each):
            _judge(made, each.func, imported, named | own, own, owner)
    return made


def _judge(
    made: Function,
    called: ast.expr,
    imported: Mapping[str, tuple[str, str]],
    known: set[str],
    own: set[str],
    owner: str,
) -> None:
    text = ast.unparse(called)
    if isinstance(called, ast.Name):
        place = imported.get(called.id)
        if called.id in TIME | CHANCE | WORLD and called.id not in known and not _is_ours(place):
            made.faults.append(f"calls {text}")
        made.calls.append(place if place else (made.module, called.id))
    elif isinstance(called, ast.Attribute):
        root = _root(called)
        place = imported.get(root) if isinstance(called.value, ast.Name) else None
        if place is not None and _is_ours(place):
            made.calls.append((f"{place[0]}.{place[1]}", called.attr))
        elif root == "self" and isinstance(called.value, ast.Name):
            made.calls.append((made.module, f"{owner}{called.attr}"))
        elif called.attr in TIME | CHANCE | WORLD:
            made.faults.append(f"calls {text}")
        if called.attr in CHANGES and root not in own | imported.keys() | set(dir(builtins)) and not _is_table(called):
            made.faults.append(f"changes {text}")


def _is_statement(call: ast.Call) -> bool:
    """Say whether a call writes by the connection it is given: `_INSERT.write(conn, ...)`."""
    first = call.args[0] if call.args else None
    root = _root(call.func)
    named = isinstance(call.func, ast.Attribute) and call.func.attr in {"write", "write_each", "update", "insert"}
    return named and isinstance(first, ast.Name) and first.id == "conn" and (root == "self" or root.isupper())


def _is_ours(place: tuple[str, str] | None) -> bool:
    return place is not None and place[0].startswith("floe")


def _is_table(called: ast.Attribute) -> bool:
    """Say whether it is a statement that is made: `servers.update()` of a table of the module."""
    return isinstance(called.value, ast.Name) and called.attr in {"update", "insert"}


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """Give what a function does itself, without what the functions in it do."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.arguments):
            continue
        yield child
        yield from _inside(child)


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


@cache
def _all() -> dict[tuple[str, str], Function]:
    found = {}
    for room in ROOMS:
        for path in sorted((SOURCE / "floe" / room).rglob("*.py")):
            module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            if module not in ENGINES and "migrations" not in module:
                found |= {(each.module, each.name): each for each in functions(module, path.read_text())}
    return found


def faults(known: Mapping[tuple[str, str], Function], start: Function) -> Iterator[str]:
    """Give what is wrong with a function and with all that it calls."""
    seen, waiting = set(), [(start, start.name)]
    while waiting:
        each, way = waiting.pop()
        if (each.module, each.name) in seen or (each.module, each.name) in PASSES:
            continue
        seen.add((each.module, each.name))
        yield from (f"{start.module}:{start.line} {way} {fault}" for fault in each.faults)
        for called in each.calls:
            further = _found(known, each, called)
            if further is not None and not further.connected:
                waiting.append((further, f"{way} > {further.name}"))


def _found(known: Mapping[tuple[str, str], Function], caller: Function, called: tuple[str, str]) -> Function | None:
    """Return what is called: a function within the caller, beside it, around it, or of a module."""
    module, name = called
    place = caller.name if module == caller.module else ""
    while place:
        if (inner := known.get((module, f"{place}.{name}"))) is not None:
            return inner
        place = place.rpartition(".")[0]
    return known.get(called)


def test_what_takes_a_connection_touches_nothing_else() -> None:
    known = _all()
    found = [text for each in known.values() if each.connected for text in faults(known, each)]
    assert found == []


def test_exceptions_are_still_needed() -> None:
    known = _all()
    for place in PASSES:
        assert place in known


@pytest.mark.parametrize(
    "text",
    [
        "def make(conn):\n    row = Row(id=cloud.new_id())",
        "def make(conn):\n    insert(conn, cloud.clock.now())",
        "def make(conn):\n    made.append(insert(conn))",
        "def make(conn: Connection):\n    self.done = True",
        "def make(conn):\n    nonlocal count\n    count += 1",
        "def make(conn):\n    kept['a'] = 1",
        "def make(conn):\n    cloud.nudge('a')",
        "def make(conn):\n    a()\ndef a():\n    return Row(b())\ndef b():\n    return new_id()",
        "write(lambda conn: put(conn, secrets.token_hex()))",
        "class A:\n    def make(self, conn):\n        self.b()\n    def b(self):\n        return self.clock.now()",
        "def outer():\n    def make(conn):\n        return row()\n    def row():\n        return cloud.new_id()",
    ],
)
def test_it_finds(text: str) -> None:
    known = {(each.module, each.name): each for each in functions("m", textwrap.dedent(text))}
    assert [fault for each in known.values() if each.connected for fault in faults(known, each)]


@pytest.mark.parametrize(
    "text",
    [
        "def make(conn):\n    made = []\n    made.append(1)\n    made[0] = 2\n    return made",
        "def make(conn, now):\n    conn.execute(rows.update().values(at=now))",
        "from floe.store import rows\ndef make(conn):\n    rows.add(conn, 1)",
    ],
)
def test_it_lets_pass(text: str) -> None:
    known = {(each.module, each.name): each for each in functions("m", text)}
    assert [fault for each in known.values() if each.connected for fault in faults(known, each)] == []
