"""What actions are given: written by one release, read by another."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from floe.conductor.registry import image_sagas, sagas
from floe.core.actions import Begins
from floe.core.given import CreateSecrets, Given

_NOTHING: Any = None
IMAGE = {"image_id": "i", "checksum": "c", "size": 1, "disk_format": "raw", "virtual_size": 2, "properties": {}}
POWER = {"host": "h", "wanted": {"power": "paused", "boots": 2, "generation": 3}}
REBUILD = {**POWER, "was": {"name": "a"}, "became": {"name": "b"}, "disks": [], "makes": []}
RESCUE = {**POWER, "rescue": {"made_of": {"image": IMAGE}}}
SHELVE = {"host": "h", "image_id": "i", "wanted": {"power": "stopped", "boots": 2, "generation": 3}}
NIC = {"host": "h", "port_id": "p"}
WRITTEN_BEFORE: dict[str, Any] = {
    "create": {"image": IMAGE},
    "delete": {},
    "upload-image": {"blob": "b"},
    "delete-image": {"blob": "b"},
    "rebuild": REBUILD,
    **dict.fromkeys(("rescue", "unrescue"), RESCUE),
    "shelve": SHELVE,
    "shelveOffload": {},
    "unshelve": {"wanted": {"power": "running", "boots": 2, "generation": 3}},
    **dict.fromkeys(("resize", "migrate", "confirmResize", "revertResize"), POWER),
    "createImage": {"host": "h", "image_id": "i"},
    "createBackup": {"host": "h", "image_id": "i"},
    **dict.fromkeys(("attach_interface", "detach_interface"), NIC),
    **dict.fromkeys(("start", "stop", "reboot", "pause", "unpause", "suspend", "resume", "trigger_crash_dump"), POWER),
    **dict.fromkeys(("soft_delete", "restore"), POWER),
}
"""The least that any release gave an action of each kind: a field that comes later is not in it, for ever."""


def begins() -> list[Begins]:
    """Return how each workflow begins."""

    class Settings:
        def __getattr__(self, _name: str) -> float:
            return 1.0

    anything: Any = Settings()
    plans = {**sagas(_NOTHING, _NOTHING, anything), **image_sagas(_NOTHING)}
    return [saga.begins for saga in plans.values()]


@pytest.mark.parametrize("kind", begins(), ids=lambda kind: kind.kind)
def test_what_a_release_before_and_a_later_one_gave_is_read(kind: Begins) -> None:
    least = WRITTEN_BEFORE[kind.kind]
    read = msgspec.convert(least, kind.given)
    assert msgspec.convert({**least, "of a later release": [1]}, kind.given) == read
    again = msgspec.to_builtins(read)
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(again)), kind.given) == read
    assert all(field.required is (field.name in least) for field in msgspec.structs.fields(kind.given))


@pytest.mark.parametrize("kind", begins(), ids=lambda kind: kind.kind)
def test_all_that_an_action_is_given_is_written_for_the_release_before_reads_it_by_name(kind: Begins) -> None:
    read = msgspec.convert(WRITTEN_BEFORE[kind.kind], kind.given)
    assert set(msgspec.to_builtins(read)) == {field.name for field in msgspec.structs.fields(kind.given)}


def test_secrets_are_read_from_among_what_is_no_secret() -> None:
    opened = {"image": IMAGE, "admin_password": "x", "files": [["/a", "b"]]}
    assert msgspec.convert(opened, CreateSecrets) == CreateSecrets(admin_password="x", files=(("/a", "b"),))
    assert msgspec.convert({}, CreateSecrets) == CreateSecrets()


def test_types_of_what_is_given_are_no_subclasses_of_each_other() -> None:
    types = Given.__subclasses__()
    assert all(kind.__subclasses__() == [] for kind in types)
