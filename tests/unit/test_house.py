"""The rules of the house that a reviewer should not have to repeat."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import floe
from floe.api.app import SURFACES
from floe.api.compute.versions import HIGHEST
from floe.api.kit.body import Body
from floe.api.kit.faults import STATUS
from floe.api.kit.resource import Resource, Use
from floe.api.kit.surface import Surface
from floe.core import errors
from floe.core.versions import version_text
from floe.store import quota_usages, schema

SOURCE = Path(floe.__file__).parent
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "migrations/versions" not in path.as_posix())
SURFACE_NAMES = [surface.name for surface in SURFACES]
TABLED = ("compute", "placement")
"""Surfaces whose reads all have a table of their query's parameters."""

MODULE_LINES = 400
FUNCTION_LINES = 60


def _name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_is_one_room(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MODULE_LINES
    for function in _functions(ast.parse(text)):
        assert function.end_lineno is not None
        length = function.end_lineno - function.lineno + 1
        assert length <= FUNCTION_LINES, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_and_what_it_offers_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    silent = [node.name for node in public if not ast.get_docstring(node)]
    assert silent == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [
        p.name for p in MODULES if p.stem in {"utils", "util", "helpers", "helper", "manager", "base", "common"}
    ] == []


LATER = ("cli/", "simulation/", "settings.py", "store/migrations/")
"""What no start reads, and the settings, whose fields say more than a type."""
REPLACES = {"store/table.py"} | {
    f"cloud/{name}.py"
    for name in (
        "application_credentials",
        "keypairs",
        "server_passwords",
        "server_removal",
        "server_states",
        "servers",
    )
}
"""Modules that make others of a dataclass that is frozen: one with a secret that its `repr` does not show."""
MORE_THAN_FIELDS = ("repr=False", "compare=False", "init=False", "eq=False", "__post_init__")


@pytest.mark.parametrize("path", [p for p in MODULES if not _name(p).startswith(LATER)], ids=_name)
def test_what_is_frozen_is_a_struct_where_it_can_be(path: Path) -> None:
    tree = ast.parse(path.read_text())
    frozen = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any("dataclass(" in each and "frozen=True" in each for each in map(ast.unparse, node.decorator_list))
        and not any(text in ast.unparse(node) for text in MORE_THAN_FIELDS)
    ]
    assert frozen == [], "each dataclass costs a start as much as fifty Structs (ADR 48)"
    taken = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
        for name in node.names
    }
    assert taken <= {"dataclass", "field"} | ({"replace"} if _name(path) in REPLACES else set()), (
        "of Structs, msgspec's"
    )


def test_every_kind_of_error_has_a_status() -> None:
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.FloeError)} - {
        errors.FloeError
    }
    assert kinds == set(STATUS)


@pytest.mark.parametrize("surface", SURFACES, ids=SURFACE_NAMES)
def test_every_route_has_a_policy_and_every_policy_a_route(surface: Surface) -> None:
    used = {route.policy for route in surface.routes}
    assert used - set(surface.policies) == set()
    assert surface.routes


@pytest.mark.parametrize("surface", SURFACES, ids=SURFACE_NAMES)
def test_no_two_routes_answer_the_same_call(surface: Surface) -> None:
    seen: dict[tuple[str, str, str | None], list[tuple[tuple[int, int], tuple[int, int]]]] = {}
    for route in surface.routes:
        for since, until in seen.setdefault((route.method, route.path, route.action), []):
            assert route.until < since or until < route.since, f"{route.method} {route.path} stands twice"
        seen[(route.method, route.path, route.action)].append((route.since, route.until))


def test_the_kit_knows_no_surfaces_words() -> None:
    """Envelopes, paths and the names of peers' releases live with the surface that speaks so."""
    kit = {path: path.read_text() for path in (SOURCE / "api" / "kit").glob("*.py")}
    assert [_name(path) for path, text in kit.items() if re.search(r"def \w+_envelope|\"/v\d|_links\"", text)] == []


@pytest.mark.parametrize("path", sorted((SOURCE / "api").glob("*/surface.py")), ids=_name)
def test_a_surface_lists_each_noun_once(path: Path) -> None:
    """Which modules it is made of stands in one place, from which routes and policies come."""
    if path.parent.name != "kit":
        tree = ast.parse(path.read_text())
        assert len([node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "ROUTES"]) == 1


def test_the_import_contracts_hold() -> None:
    root = SOURCE.parent.parent
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", root / "importlinter.ini"],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_what_tenants_send_is_read_by_confined_programs_alone() -> None:
    """`disks.run` is the one way to qemu-img; programs that are started otherwise read nothing of a tenant's."""
    source = {path: path.read_text() for path in SOURCE.rglob("*.py")}
    named = {_name(path) for path, text in source.items() if '"qemu-img"' in text}
    assert named == {"hypervisors/libvirt/disks.py", "cli/doctor.py"}
    starting = {_name(path) for path, text in source.items() if "programs.run(" in text}
    assert starting == {
        "hypervisors/libvirt/disks.py",
        "hypervisors/libvirt/consoles.py",  # our own Python
        "dataplane/linux/run.py",  # ip, nft, dnsmasq
        "assembly/bus_file.py",  # the operator's own command
    }
    assert source[SOURCE / "hypervisors/libvirt/disks.py"].count("programs.run(") == 1


def test_each_table_says_what_bounds_it() -> None:
    said = (SOURCE.parent.parent / "docs" / "adr" / "0021-history-is-purged.md").read_text()
    rows = [line.split("|")[1] for line in said.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    tables = set(schema.load().tables)
    limited = {table.name for table in schema.load().sorted_tables if quota_usages.limited(table)}
    assert tables - named - limited == set(), "name it in the table of docs/adr/0021, with what bounds it"
    assert named - tables == set(), "there is no such table"


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_each_field_of_a_resource_is_tried_on_its_surface(surface: Surface) -> None:
    """`test_fields.py` finds the nouns by walking the surface, and fails for a field without a sample."""
    handlers = (getattr(route.handler, "args", ()) for route in surface.routes)
    if any(isinstance(found, Resource) for args in handlers for found in args):
        tried = Path(__file__).parent.parent / "functional" / surface.name / "test_fields.py"
        assert tried.exists(), f"the nouns of {surface.name} have no test of their fields"
        assert "import SURFACE" in tried.read_text() or "import NOUNS" in tried.read_text()


def test_surfaces_read_numbers_and_moments_in_one_place() -> None:
    own = re.compile(r"fromisoformat|\.(isdigit|isdecimal|isnumeric)\(")
    readers = [path for path in (SOURCE / "api").rglob("*.py") if own.search(path.read_text())]
    assert readers == [SOURCE / "api" / "kit" / "values.py"]


@pytest.mark.parametrize("surface", [s for s in SURFACES if s.name in TABLED], ids=TABLED)
def test_every_list_and_show_says_which_parameters_it_knows(surface: Surface) -> None:
    silent = [route.path for route in surface.routes if route.method == "GET" and route.query is None]
    assert silent == []


def _bodies() -> Iterator[tuple[str, Body]]:
    for name, module in sorted(sys.modules.items()):
        if name.startswith("floe.api."):
            for table in vars(module).values():
                for body in (
                    table.values() if isinstance(table, dict) else table if isinstance(table, tuple) else (table,)
                ):
                    if isinstance(body, Body):
                        yield name, body
                    if isinstance(body, Resource):
                        yield name, body.fields.body(body.name, Use.WRITE)


def _boundless(kind: msgspec.inspect.Type, seen: tuple[object, ...] = ()) -> Iterator[str]:
    """Give the lists and objects within a type that may have any number of items."""
    if isinstance(kind, msgspec.inspect.CollectionType | msgspec.inspect.DictType) and kind.max_length is None:
        yield type(kind).__name__
    if isinstance(kind, msgspec.inspect.Metadata):
        yield from _boundless(kind.type, seen)
    for name in ("item_type", "value_type"):
        if isinstance(inner := getattr(kind, name, None), msgspec.inspect.Type):
            yield from _boundless(inner, seen)
    for inner in getattr(kind, "types", ()):
        yield from _boundless(inner, seen)
    if isinstance(kind, msgspec.inspect.StructType) and kind.cls not in seen:
        for field in kind.fields:
            yield from (f"{field.encode_name}: {found}" for found in _boundless(field.type, (*seen, kind.cls)))


def test_no_list_and_no_object_in_a_body_is_without_a_bound() -> None:
    bodies = list(_bodies())
    assert len(bodies) > 20
    boundless = {
        f"{name}: {field.name} {found}"
        for name, body in bodies
        for field in (*body.fields, *body.siblings)
        for found in _boundless(msgspec.inspect.type_info(field.type))
    }
    assert boundless == set(), "say how many with floe.api.kit.body.at_most"


def test_slow_work_has_a_pool_of_its_own() -> None:
    """The event loop's own threads are for programs that take long, and no other work gets near them."""
    doors = {"pools.py", "programs.py", "hypervisors/libvirt/connection.py", "simulation/loop.py"}
    own = re.compile(r"to_thread|run_in_executor|ThreadPoolExecutor|set_default_executor")
    assert {_name(path) for path in MODULES if own.search(path.read_text())} == doors
    default = re.compile(r"to_thread|run_in_executor\(\s*None|set_default_executor")
    assert {_name(path) for path in MODULES if default.search(path.read_text())} == {"programs.py"}


def test_who_may_do_what_and_what_is_offered_change_under_a_new_generation() -> None:
    """What is kept of tokens and catalogues is forgotten by it."""
    nouns = ("users", "groups", "projects", "domains", "roles", "assignments", "application_credentials", "catalogue")
    rooms = [SOURCE / "cloud" / f"{noun}.py" for noun in (*nouns, "bootstrap", "tokens")]
    assert [_name(room) for room in rooms if "db.write" in room.read_text()] == []


def test_nobody_reads_the_database_without_awaiting_it() -> None:
    inside = {SOURCE / "store" / name for name in ("engine.py", "postgres.py", "readers.py", "repeated.py")}
    inside.add(SOURCE / "simulation" / "database.py")
    assert [path for path in MODULES if "read_now" in path.read_text() and path not in inside] == []


PURE = ("core/", "scheduler/", "conductor/")
DICE = {
    "core/ids.py": "the one source of ids, which assembly passes in",
    "core/hosts.py": "names to ids: the same name gives the same id",
}
"""Who may know `uuid`, and why."""


DATABASES = [*sorted((SOURCE / "store").glob("*.py")), SOURCE / "simulation/database.py"]


@pytest.mark.parametrize("path", DATABASES, ids=lambda path: path.name)
def test_a_database_that_is_away_says_that_it_is_the_database(path: Path) -> None:
    """A workflow goes on when the database is back; of anything else that is away it takes that for a failure."""
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
    kinds = [exc.func.id for exc in raised if isinstance(exc, ast.Call) and isinstance(exc.func, ast.Name)]
    assert "Unavailable" not in kinds


@pytest.mark.parametrize("path", [path for path in MODULES if _name(path).startswith(PURE)], ids=_name)
def test_rules_and_workflows_have_their_time_and_dice_from_who_calls_them(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    known = {name.partition(".")[0] for name in imported}
    impure = known & {"os", "pathlib", "random", "secrets", "socket", "subprocess", "tempfile", "time", "uuid"}
    assert impure - ({"uuid"} if _name(path) in DICE else set()) == set()
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert called & {"now", "utcnow", "today"} - ({"now"} if _asks_a_clock(tree) else set()) == set()


def _asks_a_clock(tree: ast.AST) -> bool:
    """Say whether each `.now` is that of a clock that was passed in, which replays as the simulation says."""
    asked = [node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "now"]
    return all(isinstance(value, ast.Attribute) and value.attr in {"clock", "_clock"} for value in asked)


def test_the_highest_microversion_stands_in_one_place() -> None:
    """As a number it may also be that of a change, but nobody asks for it, or tells of it, by a text of his own."""

    def texts(tree: ast.AST) -> Iterator[str]:
        docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs:
                yield node.value

    highest = re.compile(rf"\b{re.escape(version_text(HIGHEST))}\b")
    assert [_name(path) for path in MODULES if any(map(highest.search, texts(ast.parse(path.read_text()))))] == []


def test_nobody_reads_all_actions_of_a_subject_to_find_a_few() -> None:
    """Their number is up to the user, who may lock and unlock a server all day: `actions.find` has SQL look."""
    read = re.compile(r"\b(actions|rows)\.of_(server|subject)\(")
    found = {
        _name(path)
        for path in MODULES
        if "floe.store import actions" in (text := path.read_text()) and read.search(text)
    }
    assert not found
