"""The judge of `scripts/acceptance`: what it lets pass and what it does not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as a module, its lists in a folder of the test."""
    spec = importlib.util.spec_from_file_location("acceptance", ROOT / "scripts/lib/acceptance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "acceptance", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def test_what_neither_passes_nor_is_listed_is_wrong_skipped_tests_too(judge: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sdk-not-there.txt").write_text(
        "# routers\n!dns.*  no DNS\nrouters.*  no routers\ntrunks.*  no trunks\n"
    )
    told = [
        judge.Result("servers.list", "passed"),
        judge.Result("servers.show", "failed"),
        judge.Result("servers.tags", "skipped"),
        judge.Result("routers.list", "skipped"),
        judge.Result("routers.show", "failed"),
        judge.Result("routers.find", "passed"),
    ]
    found = judge.count("sdk", told, 1.0)
    names = {kind: [each.test for each in getattr(found, kind)] for kind in ("passed", "missing", "surprises", "wrong")}
    assert names == {
        "passed": ["servers.list", "routers.find"],
        "missing": ["routers.list", "routers.show"],
        "surprises": ["routers.find"],
        "wrong": ["servers.show", "servers.tags"],
    }
    assert found.unused == ["trunks.*"]


def test_a_line_without_a_reason_is_refused(judge: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sdk-not-there.txt").write_text("routers.*\n")
    with pytest.raises(SystemExit, match="no reason"):
        judge.count("sdk", [], 1.0)


RECAP = "PLAY RECAP ***\nlocalhost : ok=3   changed={}   unreachable=0   failed={}   skipped=0\n"
CHANGED = "TASK [The key] ***\nok: [localhost]\n\nTASK [The image] ***\nchanged: [localhost]\n"


@pytest.mark.parametrize(
    ("again", "text", "outcome", "why"),
    [
        (False, CHANGED + RECAP.format(1, 0), "passed", ""),
        (True, RECAP.format(0, 0), "passed", ""),
        (True, CHANGED + RECAP.format(1, 0), "failed", "[The image]"),
        (False, RECAP.format(0, 0), "failed", "changed nothing"),
        (False, "[ERROR]: no such key\n" + RECAP.format(1, 1), "failed", "no such key"),
        (True, "Killed", "failed", "Killed"),
    ],
)
def test_a_playbook_is_in_order_if_only_its_first_run_changes_something(
    judge: ModuleType, again: bool, text: str, outcome: str, why: str
) -> None:
    found = judge.judge_playbook("site: make", again, text)
    assert found.outcome == outcome
    assert why in found.why


def test_the_lists_in_the_repository_give_a_reason_for_each_line(
    judge: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "HERE", ROOT / "tests/acceptance")
    listed = judge.not_there("sdk")
    assert listed
    assert len({each.pattern for each in listed}) == len(listed)
