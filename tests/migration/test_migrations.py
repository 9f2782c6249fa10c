"""Migrations and tables say the same, and the release before goes on working on the newer schema."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from floe.store import migrate, projects, roles, schema
from floe.testing import EmbeddedCloud


def test_the_newest_migration_is_the_one_that_the_release_knows() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_migrations_make_exactly_the_tables_that_the_code_declares(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.load()) == []
    engine.dispose()


def test_a_database_that_is_up_to_date_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        before = connection.execute("PRAGMA schema_version").fetchone()
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA schema_version").fetchone() == before


def test_a_newer_schema_is_accepted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with caplog.at_level(logging.WARNING):
        migrate.ensure(file)
    assert "newer than this release's" in caplog.text
    assert migrate.current(file) == "9999"


def test_a_file_that_is_no_database_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    file.write_text("this is no database, and somebody may want it back" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        migrate.ensure(file)
    assert file.read_text().startswith("this is no database")


def test_a_quota_set_before_it_was_noted_when_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0001")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("INSERT INTO quotas (project_id, resource, \"limit\") VALUES ('p', 'port', 7)")
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        kept = connection.execute('SELECT resource, "limit", set_at FROM quotas').fetchall()
    assert kept == [("port", 7, None)]


def test_names_of_ports_follow_their_servers_from_the_migration_on(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0002")
    with closing(sqlite3.connect(file)) as connection, connection:
        for table, values in (
            ("servers", {"id": "s", "hostname": "Web.example.org"}),
            ("ports", {"id": "tied", "mac": "1", "server_id": "s", "hostname": ""}),
            ("ports", {"id": "free", "mac": "2", "hostname": ""}),
            ("port_addresses", {"port_id": "tied"}),
            ("host_networks", {"host": "h", "wanted": 4, "applied": 4}),
        ):
            insert_row(connection, table, values)
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        assert dict(connection.execute("SELECT id, hostname FROM ports")) == {"tied": "web.example.org", "free": ""}
        assert connection.execute("SELECT wanted > applied FROM host_networks").fetchall() == [(1,)]
        assert connection.execute("SELECT port_id FROM port_addresses").fetchall() == [("tied",)]
        columns = {row[1]: row[2] for row in connection.execute("PRAGMA table_info(ports)")}
        assert columns["hostname"] == "VARCHAR(255)"


def test_names_are_found_without_case_after_the_migration_and_twins_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0002")
    with closing(sqlite3.connect(file)) as connection, connection:
        for ident, name in (("1", "Member"), ("2", "member"), ("3", "STRASSE")):
            connection.execute("INSERT INTO roles (id, name, description) VALUES (?, ?, '')", (ident, name))
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        kept = connection.execute("SELECT id, name, folded, properties FROM roles ORDER BY id").fetchall()
    assert kept == [("1", "Member", "member", "{}"), ("2", "member", "member", "{}"), ("3", "STRASSE", "strasse", "{}")]


async def test_what_an_older_release_writes_on_the_newer_schema_is_found_after_the_next_start(
    first_start: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    shutil.copytree(first_start, folder)
    with closing(sqlite3.connect(folder / "floe.db")) as connection, connection:
        connection.execute("INSERT INTO roles (id, name, description) VALUES ('new', 'Größe', '')")
        connection.execute("UPDATE projects SET name = 'Werk' WHERE name = 'demo'")
    async with EmbeddedCloud(folder, hosts=1) as cloud:
        found = cloud.node.cloud.db.read_now(
            lambda conn: (roles.called(conn, "GRÖSSE"), projects.called(conn, "werk", domain_id="default"))
        )
    assert [thing.name if thing else None for thing in found] == ["Größe", "Werk"]


def test_hosts_of_an_older_release_are_sent_their_networks_again(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0002")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("INSERT INTO host_networks (host, wanted, applied) VALUES ('h1', 7, 7)")
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT wanted > applied FROM host_networks").fetchall() == [(1,)]


def insert_row(connection: sqlite3.Connection, table: str, values: dict[str, object]) -> None:
    """Insert a row, with something in each column that needs it."""
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    row = {name: 0 if "INT" in kind else "" for _, name, kind, needed, _, _ in columns if needed} | values
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def counts(file: Path) -> dict[tuple[str, str], int]:
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT owner, resource, used FROM quota_usages").fetchall()
    return {(owner, resource): used for owner, resource, used in found}


def test_what_there_was_before_it_was_counted_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0006")
    with closing(sqlite3.connect(file)) as connection, connection:
        of_p = {"project_id": "p", "vcpus": 2, "memory_mib": 512}
        insert_row(connection, "servers", {"id": "s1", **of_p, "group_id": "g"})
        insert_row(connection, "servers", {"id": "s2", **of_p, "number": 2})
        insert_row(connection, "servers", {"id": "gone", **of_p, "number": 3, "group_id": "g", "deleted_at": 1})
        insert_row(connection, "ports", {"id": "a", "project_id": "p"})
        insert_row(connection, "keypairs", {"user_id": "u"})
    migrate.ensure(file)
    servers = {("p", "instances"): 2, ("p", "cores"): 4, ("p", "ram"): 1024, ("g", "server_group_members"): 1}
    assert counts(file) == {**servers, ("p", "port"): 1, ("u", "key_pairs"): 1}


def test_what_an_older_release_does_on_the_newer_schema_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        insert_row(connection, "ports", {"id": "a", "project_id": "p"})
        insert_row(connection, "ports", {"id": "b", "project_id": "p", "mac": "2"})
        connection.execute("DELETE FROM ports WHERE id = 'a'")
    assert counts(file) == {("p", "port"): 1}


def test_triggers_that_a_migration_lost_are_made_again_and_all_is_counted_anew(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        whole = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY 1").fetchall()
        for name, _ in whole:
            connection.execute(f"DROP TRIGGER {name}")
        insert_row(connection, "ports", {"id": "a", "project_id": "p"})
    assert counts(file) == {}
    migrate.ensure(file)
    assert counts(file) == {("p", "port"): 1}
    with closing(sqlite3.connect(file)) as connection:
        made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY 1").fetchall()
    assert made == whole
    assert whole != []


def test_a_newer_releases_triggers_are_left_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("CREATE TRIGGER count_of_later AFTER INSERT ON users BEGIN SELECT 1; END")
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'count_of_later'").fetchall() == [(1,)]


VIRTIO = {"device": "vda", "bus": "virtio"}


def disks_of(file: Path, server_id: str) -> list[dict[str, object]]:
    """Return the rows of a server's disks, without their key and what is NULL in them."""
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        query = "SELECT * FROM server_disks WHERE server_id = ? ORDER BY position"
        found = [dict(row) for row in connection.execute(query, (server_id,))]
    assert [row.pop("position") for row in found] == list(range(len(found)))
    assert {row.pop("make") for row in found} <= {0}, "they are their first ones"
    return [{name: value for name, value in row.items() if name != "server_id" and value is not None} for row in found]


def test_servers_that_are_there_are_given_their_disks(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0012")
    flavor = {"flavor_id": "1", "name": "f", "vcpus": 1, "memory_mib": 64, "root_gib": 2, "ephemeral_gib": 3}
    roomy = json.dumps({**flavor, "swap_mib": 64})
    asked = [{"kind": "ephemeral", "gib": 1}, {"kind": "swap", "mib": 16}]
    common = {"image_id": "i", "image_properties": "{}", "block_devices": "[]"}
    scsi = json.dumps({"hw_disk_bus": "scsi", "hw_machine_type": "q35"})
    with closing(sqlite3.connect(file)) as connection, connection:
        for number, (ident, values) in enumerate(
            {
                "plain": {"flavor": json.dumps(flavor | {"ephemeral_gib": 0})},
                "asked": {"flavor": roomy, "block_devices": json.dumps(asked), "config_drive": 1},
                "scsi": {"flavor": roomy, "image_properties": scsi, "config_drive": 1},
                "gone": {"flavor": roomy, "deleted_at": 1},
            }.items(),
            1,
        ):
            insert_row(connection, "servers", {"id": ident, "number": number, **common, **values})
    migrate.ensure(file)
    root = {"type": "overlay", "role": "root", "boot_index": 0, "size_mib": 2048, "image_id": "i"}
    ephemeral = {"type": "blank", "role": "ephemeral0", "filesystem": "ext4", "label": "ephemeral0"}
    swap = {"type": "blank", "role": "swap", "filesystem": "swap", "label": ""}
    drive = {"type": "config-drive", "role": "config"}
    assert disks_of(file, "plain") == [root | VIRTIO]
    assert disks_of(file, "asked") == [
        root | VIRTIO,
        ephemeral | {"size_mib": 1024, "device": "vdb", "bus": "virtio"},
        swap | {"size_mib": 16, "device": "vdc", "bus": "virtio"},
        drive | {"device": "hdd", "bus": "ide"},
    ]
    assert disks_of(file, "scsi") == [
        root | {"device": "sda", "bus": "scsi"},
        ephemeral | {"size_mib": 3072, "device": "sdb", "bus": "scsi"},
        swap | {"size_mib": 64, "device": "sdc", "bus": "scsi"},
        drive | {"device": "sdd", "bus": "sata"},
    ]
    assert disks_of(file, "gone") == []


def test_more_servers_than_one_portion_are_given_their_disks(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0012")
    with closing(sqlite3.connect(file)) as connection, connection:
        for number in range(2003):
            insert_row(connection, "servers", {"id": f"s{number}", "number": number})
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(DISTINCT server_id), count(*) FROM server_disks").fetchall() == [
            (2003, 2003)
        ]


def test_what_an_older_release_deletes_on_the_newer_schema_takes_its_disks_along(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0012")
    with closing(sqlite3.connect(file)) as connection, connection:
        insert_row(connection, "servers", {"id": "s"})
    migrate.ensure(file)
    assert len(disks_of(file, "s")) == 1
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM servers WHERE id = 's'")
    assert disks_of(file, "s") == []


def test_subnets_keep_their_addresses_and_their_count_when_their_columns_are_made_wider(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0012")
    with closing(sqlite3.connect(file)) as connection, connection:
        insert_row(connection, "networks", {"id": "n", "project_id": "p"})
        insert_row(connection, "subnets", {"id": "s", "network_id": "n", "project_id": "p", "cidr": "10.0.0.0/24"})
        insert_row(connection, "ports", {"id": "a", "network_id": "n", "project_id": "p"})
        insert_row(connection, "port_addresses", {"port_id": "a", "subnet_id": "s", "network_id": "n", "address": 9})
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute("SELECT id, cidr, gateway FROM subnets").fetchall() == [("s", "10.0.0.0/24", None)]
        assert connection.execute("SELECT port_id, address FROM port_addresses").fetchall() == [("a", 9)]
        kinds = {row[1]: row[2] for row in connection.execute("PRAGMA table_info(subnets)")}
        assert (kinds["cidr"], kinds["gateway"]) == ("VARCHAR(64)", "VARCHAR(64)")
        insert_row(connection, "subnets", {"id": "later", "network_id": "n", "project_id": "p"})
    assert counts(file)["p", "subnet"] == 2


def test_allocations_of_an_older_release_are_for_the_guest_and_others_may_stand_beside_them(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0012")
    with closing(sqlite3.connect(file)) as connection, connection:
        insert_row(connection, "allocations", {"server_id": "s", "host": "h", "project_id": "p", "vcpus": 2})
        before = connection.execute("SELECT * FROM allocations").fetchall()
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute("SELECT * FROM allocations").fetchall() == [(*row, "running") for row in before]
        names = ["server_id", "host", "project_id", "user_id", "vcpus", "memory_mib", "disk_gib", "created_at"]
        older = f"INSERT INTO allocations ({', '.join(names)}) VALUES (?, ?, 'p', 'u', 1, 1, 1, 1)"
        connection.execute(older, ("of older", "h"))
        insert_row(connection, "allocations", {"server_id": "s", "host": "h", "purpose": "second"})
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(older, ("s", "h"))
        found = connection.execute("SELECT server_id, purpose FROM allocations ORDER BY rowid").fetchall()
        assert found == [("s", "running"), ("of older", "running"), ("s", "second")]
        kept = {row[1] for row in connection.execute("PRAGMA index_list(allocations)")}
        assert {"ix_allocations_host", "ix_allocations_group", "ix_allocations_project"} <= kept


def bindings_of(file: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT port_id, host, status, plugged FROM port_bindings ORDER BY 1, 2").fetchall()


def test_ports_of_an_older_release_have_the_bindings_that_their_rows_say(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0012")
    with closing(sqlite3.connect(file)) as connection, connection:
        for number, values in enumerate(({"host": "h1", "plugged": 1}, {"host": "h2", "plugged": 0}, {})):
            insert_row(connection, "ports", {"id": f"p{number}", "mac": str(number), **values})
    migrate.ensure(file)
    assert bindings_of(file) == [("p0", "h1", "ACTIVE", 1), ("p1", "h2", "ACTIVE", 0)]
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("UPDATE ports SET host = 'h3', plugged = 1 WHERE id <> 'p0'")
        connection.execute("DELETE FROM ports WHERE id = 'p0'")
        made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY 1").fetchall()
    assert bindings_of(file) == [("p1", "h3", "ACTIVE", 1), ("p2", "h3", "ACTIVE", 1)]
    with closing(sqlite3.connect(file)) as connection, connection:
        for name in ("bind_ports_insert", "bind_ports_plug", "bind_ports_move"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE ports SET host = NULL WHERE id = 'p1'")
        connection.execute("UPDATE ports SET host = 'h4' WHERE id = 'p2'")
    migrate.ensure(file)
    assert bindings_of(file) == [("p2", "h4", "ACTIVE", 1)]
    with closing(sqlite3.connect(file)) as connection:
        again = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY 1").fetchall()
    assert again == made


def test_an_older_release_that_changes_aggregates_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "floe.db"
    migrate.upgrade(file, "0024")
    seen = []
    with closing(sqlite3.connect(file)) as connection, connection:
        insert_row(connection, "aggregates", {"id": 1, "uuid": "u", "name": "a", "items": "{}"})
    for change in ("name = 'b'", 'items = \'{"ssd": "true"}\'', "zone = 'west'"):
        migrate.ensure(file)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(f"UPDATE aggregates SET {change}")
            seen += connection.execute("SELECT number FROM generations WHERE subject = 'aggregates'").fetchall()
    assert seen == [(1,), (2,), (3,)]


@pytest.mark.parametrize("revision", ["0019", "0023"])
def test_what_gives_room_can_be_taken_back_and_given_again(tmp_path: Path, revision: str) -> None:
    file = tmp_path / "floe.db"
    migrate.ensure(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        insert_row(connection, "ports", {"id": "p", "host": "h", "plugged": 1})
        for purpose in ("running", "second"):
            insert_row(connection, "allocations", {"server_id": "s", "host": "h", "purpose": purpose})
    downgrade(file, revision)
    with closing(sqlite3.connect(file)) as connection, connection:
        left = connection.execute("SELECT server_id, host FROM allocations").fetchall()
        assert left == [("s", "h")] * (1 if revision < "0023" else 2)
        connection.execute("UPDATE ports SET host = 'other'")
    migrate.ensure(file)
    assert bindings_of(file) == [("p", "other", "ACTIVE", 1)]


def downgrade(file: Path, revision: str) -> None:
    migrate.run(file, command.downgrade, revision)
