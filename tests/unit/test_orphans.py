"""`floe up` reaps what its children leave behind, and nothing that one of its own threads waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
import asyncio, os, signal, subprocess
from pathlib import Path
import uvloop
from floe import programs
from floe.cli.orphans import Orphans

FORKED_TWICE = "setsid sh -c 'sleep 1000 > /dev/null 2>&1 & echo $!'"  # as libvirt starts QEMU
FORKED_ONCE = "setsid sleep 1000 > /dev/null 2>&1 & echo $!"  # as QEMU itself, to be asked what it can do
IN_OUR_SESSION = "sleep 1000 > /dev/null 2>&1 & echo $!"

async def daemon(how):
    pid = int((await programs.run(["sh", "-c", how], seconds=30)).out)
    assert int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
    async with asyncio.timeout(30):
        while how is not IN_OUR_SESSION and os.getsid(pid) == os.getsid(0):  # it is about to leave it
            await asyncio.sleep(0.01)
    return pid

async def gone(*pids):
    async with asyncio.timeout(30):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.01)
"""

MANY = """
async def main():
    orphans = Orphans()
    orphans.adopt()
    for _ in range(20):
        pids = await asyncio.gather(*(daemon(how) for how in (FORKED_TWICE, FORKED_ONCE, FORKED_TWICE)))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        codes = (3, 4, 5)
        ended = await asyncio.gather(*(programs.run(["sh", "-c", f"exit {code}"], seconds=30) for code in codes))
        assert tuple(program.code for program in ended) == codes
        await gone(*pids)
    orphans.leave()
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
"""

# Each has ended and waits for its owner, while daemons that ended after it are reaped.
OWNED = """
def ended(code, **how):
    process = subprocess.Popen(["sh", "-c", f"exit {code}"], **how)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process

async def main():
    Orphans().adopt()
    owned = [await asyncio.to_thread(ended, 8, start_new_session=True), await asyncio.to_thread(ended, 7)]
    for how in (FORKED_TWICE, FORKED_ONCE):
        pid = await daemon(how)
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
    assert [process.wait() for process in owned] == [8, 7]
    last = await daemon(FORKED_TWICE)
    mine = ended(9)
    os.kill(last, signal.SIGKILL)
    for _ in range(100):
        await asyncio.sleep(0)
    assert mine.wait() == 9
    await gone(last)
"""

NOBODYS = """
async def main():
    Orphans(patience=0.3).adopt()
    pids = [await daemon(IN_OUR_SESSION), await daemon(FORKED_TWICE)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await gone(*pids)
"""


def run(program: str, loop: str = "uvloop") -> None:
    words = [sys.executable, "-c", f"{BEGIN}{program}\n{loop}.run(main())\nprint('done')"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_daemons_are_reaped_when_they_end(loop: str) -> None:
    run(MANY, loop)


def test_the_status_of_a_child_is_left_to_who_waits_for_it() -> None:
    run(OWNED)


def test_an_orphan_that_could_be_somebodys_child_is_reaped_when_nobody_asks_for_it() -> None:
    run(NOBODYS)
