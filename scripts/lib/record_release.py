"""Records what a release says and writes: for the one after it, which must understand that.

`python scripts/lib/record_release.py VERSION`, when a release is made: the number after the last that is there. It
writes each kind of message (`tests/wire/bus`), and what a conductor leaves behind that dies in each step of each
workflow (`tests/migration`). What is recorded is never changed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
MESSAGES = ROOT / "tests/wire/bus"
JOURNALS = ROOT / "tests/migration"
NAME = "{what}_of_version_{version}.json"
_COUNTED = {"alembic_version", "quota_usages", "generations", "port_bindings"}
"""Tables that the database keeps by itself, or that are made anew with the schema."""


def loaded(path: Path) -> ModuleType:
    """Return a file of tests as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def messages() -> dict[str, str]:
    """Return a sample of each kind of message as it travels, in base64."""
    from floe.bus.codec import encode

    samples = loaded(MESSAGES / "samples.py")
    return {
        name: base64.b64encode(encode(samples.sample(kind))).decode() for name, kind in sorted(samples.KINDS.items())
    }


def deaths(scenes: ModuleType, strikes: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Give where conductors die: before anything is done, and in each step of each workflow, undos included."""
    for kind, saga in scenes.plans().items():
        if kind not in scenes.SCENES:
            continue
        points = [case for case in strikes.cases(saga) if case[2] == "killed in"]
        yield kind, points[0][1], "killed before"
        yield from points


async def journal(scenes: ModuleType, strikes: ModuleType, folder: Path, death: tuple[str, str, str]) -> dict[str, Any]:
    """Return what a conductor leaves behind, and what is to become of its server where all goes well from then on."""
    kind, step, what = death
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _death: None)
    kit, strike = scenes.KIT, strikes.Strike(step, what, strikes.writes(scenes.plans()[kind], step))
    cloud = kit.make_cloud(folder)
    await cloud.db.write(scenes.create_all)
    hosts = {name: kit.ScriptedHost(name) for name in ("h1", "h2")}
    site = await scenes.start(cloud, hosts, strike, scenes.impatient)
    if step.startswith("undo "):
        for host in hosts.values():
            host.script.extend([scenes.BROKEN] * 5)
    strike.armed = kind == "create"
    server = await site.post()
    if kind != "create":
        await site.settle()
        await scenes.begin(site, server.id, kind, strike)
    async with asyncio.timeout(30):
        await site.settle()
    assert strike.struck, f"nobody died where {kind} has {step}"
    await scenes.kill(site.conductor)
    found = {
        "server": server.id,
        "becomes": scenes.SCENES[kind],
        "guests": {host.name: {ident: int(state) for ident, state in host.guests.items()} for host in hosts.values()},
        "rows": await cloud.db.read(rows),
    }
    await site.cloud.bus.close()
    cloud.db.close()
    return found


def rows(conn: Any) -> dict[str, list[dict[str, Any]]]:
    """Return all rows as they are kept, but for what the database counts by itself; nothing of what is not set."""
    tables = conn.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").scalars().all()
    found = {}
    for table in tables:
        if table in _COUNTED or table.startswith("sqlite_"):
            continue
        kept = conn.exec_driver_sql(f"SELECT * FROM {table}").mappings()  # names of tables of ours
        found[table] = [{name: value for name, value in row.items() if value is not None} for row in kept]
    return {table: kept for table, kept in found.items() if kept}


def journals() -> dict[str, Any]:
    """Return what is left behind by each death, and by which schema it is written."""
    from floe.store import migrate

    sys.path.insert(0, str(ROOT / "tests/crash"))
    scenes, strikes = loaded(ROOT / "tests/crash/test_every_step.py"), sys.modules["strikes"]
    cases = {}
    for death in deaths(scenes, strikes):
        kind, step, what = death
        with tempfile.TemporaryDirectory() as folder:
            cases[f"{kind}, {what} {step}"] = asyncio.run(journal(scenes, strikes, Path(folder), death))
    return {"schema": migrate.HEAD, "cases": cases}


def main() -> None:
    """Record a release."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", type=int)
    version = parser.parse_args().version
    for folder, what, record in ((MESSAGES, "messages", messages), (JOURNALS, "journals", journals)):
        path = folder / NAME.format(what=what, version=version)
        if path.exists():
            parser.error(f"{path.relative_to(ROOT)} is there; what is recorded is never changed")
        path.write_text(json.dumps(record(), separators=(",", ":"), sort_keys=True) + "\n")
        sys.stdout.write(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
