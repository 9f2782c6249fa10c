"""`floe bus-key` and `floe bus-config`: who is in the list gets in, and what is wrong with a list is said."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from floe import cli
from floe.bus import keys, permissions
from floe.bus.permissions import Member, Part, is_public_key, members, server_file
from floe.core.errors import Invalid

ONE, TWO = (
    "UCVNDFOC6CZKUAHJUGGFXBKF53IA5QIED4VKS2NASLHH2M5MBJTJAAAV",
    "UDK6VNWL6QVSVYD2MJGGSDOHCHCAZPYOEFHDAJE4SYZPM6WYKQN52NST",
)


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bus.seed"
    printed = []
    for _ in range(2):
        assert cli.main(["bus-key", str(file)]) == 0
        printed.append(capsys.readouterr().out.strip())
    assert printed[0] == printed[1]
    assert is_public_key(printed[0])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("SU")
    assert printed[0] == keys.public_key(file.read_text())


@pytest.mark.parametrize("text", ["", "SUAM", "x" * 58, "SUB" + "A" * 55, "é"])
def test_a_file_that_holds_no_key_is_left_alone(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bus.seed"
    file.write_text(text)
    assert cli.main(["bus-key", str(file)]) == 1
    assert "holds no key of a user" in capsys.readouterr().err
    assert file.read_text() == text


def test_who_is_in_the_list_is_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, output = tmp_path / "list", tmp_path / "users.conf"
    listed.write_text(f"# ours\n\n{ONE} host rack 4.h1\n  {TWO}   control conductor-1\n{TWO} control conductor-1\n")
    assert cli.main(["bus-config", str(listed)]) == 0
    text = capsys.readouterr().out
    assert text.count(ONE) == text.count(TWO) == 1
    assert '"floe.do.rack%204%2Eh1"' in text
    output.write_text("old")
    output.chmod(0o640)
    assert cli.main(["bus-config", str(listed), "--output", str(output)]) == 0
    assert output.read_text() == text
    assert stat.S_IMODE(output.stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{ONE} host", r"Line 1 is '.* host'; `KEY host NAME`"),
        (f"{ONE} guest h1", r"Line 1 is .*; `KEY host NAME` or `KEY control NAME`"),
        ("UABC host h1", r"Line 1: 'UABC' is no public nkey"),
        (f"{ONE[:-1]}{'A' if ONE[-1] != 'A' else 'B'} host h1", r"Line 1: .* is no public nkey"),
        (f"{ONE} host h1\n{TWO} host h2\n{TWO} host h1", r"Line 3: the host 'h1' has another key in line 1"),
        ("# nobody\n", "Nobody is in the list"),
    ],
)
def test_a_list_that_is_wrong_is_refused_and_nothing_is_written(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=why):
        server_file(members(text))
    listed, output = tmp_path / "list", tmp_path / "users.conf"
    listed.write_text(text)
    output.write_text("old")
    assert cli.main(["bus-config", str(listed), "--output", str(output)]) == 1
    assert output.read_text() == "old"


def test_a_pid_file_that_names_no_server_signals_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, pid_file = tmp_path / "list", tmp_path / "pid"
    listed.write_text(f"{ONE} control c")
    for text, why in (("1", "is the server running"), ("999999999", "no process"), ("x", "names no server")):
        pid_file.write_text(text)
        assert cli.main(["bus-config", str(listed), "--pid-file", str(pid_file)]) == 1
        assert why in capsys.readouterr().err
    assert cli.main(["bus-config", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_one_key_may_stand_for_the_hosts_of_one_process() -> None:
    text = server_file([Member(key=ONE, part=Part.HOST, name=f"fake-{number}") for number in (1, 2)])
    assert text.count("nkey:") == 1
    assert '"floe.do.fake-1", "floe.do.fake-2"' in text


def test_ten_thousand_hosts_make_a_file_of_a_few_megabytes() -> None:
    listed = [Member(key=ONE, part=Part.HOST, name=f"host-{number}") for number in range(10_000)]
    assert len(server_file(listed)) < 4_000_000
    assert len(permissions.members("\n".join(f"{ONE} host host-{number}" for number in range(10_000)))) == 10_000
