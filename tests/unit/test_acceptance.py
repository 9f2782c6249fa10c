"""The judge of `scripts/acceptance`: what it lets pass and what it does not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
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
    found = judge.count("sdk", told, 1.0, "fake-hosts")
    names = {kind: [each.test for each in getattr(found, kind)] for kind in ("passed", "missing", "surprises", "wrong")}
    assert names == {
        "passed": ["servers.list", "routers.find"],
        "missing": ["routers.list", "routers.show"],
        "surprises": ["routers.find"],
        "wrong": ["servers.show", "servers.tags"],
    }
    assert found.unused == ["trunks.*"]


def test_what_one_kind_of_cloud_lacks_is_wrong_elsewhere(judge: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tempest-fake-hosts-not-there.txt").write_text("servers.login  nobody logs in\n")
    told = [judge.Result("servers.login", "skipped")]
    assert [each.test for each in judge.count("tempest", told, 1.0, "fake-hosts").missing] == ["servers.login"]
    assert [each.test for each in judge.count("tempest", told, 1.0, "guests").wrong] == ["servers.login"]


def test_a_line_without_a_reason_is_refused(judge: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sdk-not-there.txt").write_text("routers.*\n")
    with pytest.raises(SystemExit, match="no reason"):
        judge.count("sdk", [], 1.0, "fake-hosts")


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


@pytest.mark.parametrize("part", ["sdk", "tempest"])
def test_the_lists_in_the_repository_give_a_reason_for_each_line(
    judge: ModuleType, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(judge, "HERE", ROOT / "tests/acceptance")
    listed = judge.not_there(part)
    assert listed
    assert len({each.pattern for each in listed}) == len(listed)


OTHERS_TESTS = """
import sys, unittest
sys.path.insert(0, {folder!r})
from told import Told, cases

class Sound(unittest.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.fail("it is wrong")
    @unittest.skip("not now")
    def test_waits(self): pass

class Unsound(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise ValueError("nothing to test")
    def test_never(self): pass

class Elsewhere(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest("no such service")
    def test_never(self): pass

suite = unittest.TestSuite()
for kind in (Sound, Unsound, Elsewhere):
    suite.addTests(cases(unittest.defaultTestLoader.loadTestsFromTestCase(kind)))
suite.run(Told("__main__."))
"""


def test_others_tests_are_told_of_one_by_one_and_classes_that_cannot_be_set_up_too() -> None:
    script = OTHERS_TESTS.format(folder=str(ROOT / "scripts/lib"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(each["test"], each["outcome"], each["why"].removeprefix("AssertionError: ")) for each in told} == {
        ("Sound.test_passes", "passed", ""),
        ("Sound.test_fails", "failed", "it is wrong"),
        ("Sound.test_waits", "skipped", "not now"),
        ("Unsound.setUpClass", "failed", "nothing to test"),
        ("Elsewhere.setUpClass", "skipped", "no such service"),
    }
