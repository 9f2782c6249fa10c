"""What the release before had under way when it stopped is finished by this one, wherever it stood.

That release (schema 0012, version 1 of create and delete) wrote the journals, and was killed at the point of each name.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from scripted_hosts import KIT

from floe.cloud.audit import check_rows
from floe.core.guests import PowerState
from floe.store import audit, holdings, migrate
from floe.store.engine import Database

CASES = json.loads((Path(__file__).parent / "journals_of_version_1.json").read_text())

RECORDED = {
    path.stem.rpartition("_")[2]: json.loads(path.read_text())
    for path in sorted(Path(__file__).parent.glob("journals_of_version_*.json"))
    if path.stem != "journals_of_version_1"
}
"""What later releases left, by version: `scripts/lib/record_release.py` records it."""


def write(path: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for table, found in rows.items():
            for row in found:
                places = ", ".join("?" * len(row))
                db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", list(row.values()))


async def finish(folder: Path, case: dict[str, Any], down: str = "") -> tuple[Any, dict[str, Any]]:
    """Start this release's conductor on what was left, let it do what there is to do, and return what came of it."""
    cloud = KIT.make_cloud(folder, lambda path, _clock: Database(path))
    hosts = {name: KIT.ScriptedHost(name) for name in case["guests"]}
    for name, there in case["guests"].items():
        powers = there if isinstance(there, dict) else dict.fromkeys(there, PowerState.RUNNING)
        hosts[name].guests = {ident: PowerState(power) for ident, power in powers.items()}
    conductor = KIT.Conductor(cloud, settings=replace(KIT.SETTINGS, start_grace=0.5 if down else 5.0), place="here")
    for host in hosts.values():
        if host.name != down:
            await cloud.bus.serve(host.name, host.handle)
    await conductor.start()
    for host in hosts.values():
        if host.name != down:
            await cloud.bus.publish(host.up())
    await KIT.idle(conductor)
    return KIT.Site(cloud, conductor, hosts), hosts


async def close(site: Any) -> None:
    await site.conductor.stop()
    await site.cloud.bus.close()
    site.cloud.db.close()


@pytest.mark.parametrize("name", CASES)
async def test_what_the_release_before_had_under_way_is_finished(tmp_path: Path, name: str) -> None:
    case, file = CASES[name], tmp_path / "floe.db"
    migrate.upgrade(file, "0012")
    write(file, case["rows"])
    migrate.ensure(file)
    site, hosts = await finish(tmp_path, case)
    server = site.server(case["server"])
    for host in hosts:  # as the slow sweep does: while an action is open, nobody asks for what it left behind
        await site.conductor.events.check(host)
    await site.settle()
    there = {host.name: set(host.guests) for host in hosts.values() if host.guests}
    assert server.vm_state == ("deleted" if "delete" in name else "error" if name.endswith("that failed") else "active")
    assert there == ({server.host: {server.id}} if server.vm_state == "active" else {})
    held = await site.cloud.db.read(lambda conn: holdings.find(conn, server.id))
    assert set(held) == set(there)
    assert check_rows(await site.cloud.db.read(audit.rows), quiet=True) == []
    await close(site)


def with_unknown(value: Any, where: tuple[str, ...] = ()) -> Any:
    """Return what an action was given, or a step returned, as the next release might write it: with something more."""
    if isinstance(value, dict) and where[-1:] != ("properties",):
        more = {key: with_unknown(inner, (*where, key)) for key, inner in value.items()}
        return more | {"a field of the next release": {"with": ["anything", 1]}}
    return [with_unknown(each, where) for each in value] if isinstance(value, list) else value


def as_of_later(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return rows with more in their JSON than this release knows of."""
    columns = {"actions": "input", "action_steps": "output", "servers": "fault"}
    later = {table: [dict(row) for row in found] for table, found in rows.items()}
    for table, column in columns.items():
        for row in later.get(table, ()):
            if isinstance(row.get(column), str):
                row[column] = json.dumps(with_unknown(json.loads(row[column])))
    return later


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Empty databases, by version of the release."""
    found = {version: tmp_path_factory.mktemp("schema") / f"{version}.db" for version in RECORDED}
    for version, file in found.items():
        migrate.upgrade(file, RECORDED[version]["schema"])
    return found


@pytest.mark.parametrize("fields", ["known", "of the next release too"])
@pytest.mark.parametrize(
    ("version", "name"), [(version, name) for version in RECORDED for name in RECORDED[version]["cases"]]
)
async def test_what_died_in_any_step_in_a_release_before_is_finished(
    tmp_path: Path, schemas: dict[str, Path], version: str, name: str, fields: str
) -> None:
    """`scripts/lib/record_release.py` had its conductor die there."""
    case, file = RECORDED[version]["cases"][name], tmp_path / "floe.db"
    shutil.copy(schemas[version], file)
    write(file, case["rows"] if fields == "known" else as_of_later(case["rows"]))
    migrate.ensure(file)
    site, hosts = await finish(tmp_path, case)
    for host in hosts:
        await site.conductor.events.check(host)
    await site.settle()
    server = site.server(case["server"])
    assert (server.vm_state, server.task_state) == (case["becomes"], None)
    there = {host.name: set(host.guests) for host in hosts.values() if host.guests}
    assert there == ({} if case["becomes"] in {"error", "deleted"} else {server.host: {server.id}})
    assert all(action.finished_at is not None for action in site.actions(server.id))
    assert check_rows(await site.cloud.db.read(audit.rows), quiet=True) == []
    await close(site)


async def test_a_guest_of_the_release_before_is_found_on_a_host_that_was_down_when_its_server_was_deleted(
    tmp_path: Path,
) -> None:
    case, file = CASES["a create, placed for a second time"], tmp_path / "floe.db"
    migrate.upgrade(file, "0012")
    write(file, case["rows"])
    migrate.ensure(file)
    case = {**case, "guests": {"h1": [case["server"]], "h2": []}}  # h1 lost what it knew, and did not clean up
    site, hosts = await finish(tmp_path, case, down="h1")
    assert site.server(case["server"]).host == "h2"
    await site.delete(site.server(case["server"]))
    await site.settle()
    assert site.server(case["server"]).vm_state == "deleted"
    assert hosts["h1"].guests
    await site.cloud.bus.serve("h1", hosts["h1"].handle)
    await site.announce(hosts["h1"])
    assert hosts["h1"].guests == {}
    assert await site.cloud.db.read(lambda conn: holdings.find(conn, case["server"])) == {}
    await close(site)


async def test_what_the_release_before_did_on_this_schema_is_known_after_the_next_start(tmp_path: Path) -> None:
    case, file = CASES["a create that is done"], tmp_path / "floe.db"
    migrate.ensure(file)
    write(file, case["rows"])  # as that release does, which knows neither versions nor holdings
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as db:
        found = db.execute("SELECT server_id, host FROM holdings").fetchall()
        assert found == [(case["server"], case["rows"]["servers"][0]["host"])]
        assert db.execute("SELECT count(*) FROM actions WHERE version = 1").fetchone() == (0,)
