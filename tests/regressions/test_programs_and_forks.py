"""A guest whose start met that of a program, at the same instant, was never started, and its build never ended.

uvloop starts programs by a fork with a handler that all forks of the process then run, and that waits in the child for
the interpreter's lock; libvirt forks in a thread to start a guest, and waits for its child.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# As libvirt does: fork with the interpreter's lock left to others, do nothing of Python's in the child, wait for it.
PROGRAM = """
import ctypes, subprocess, sys, threading
from pathlib import Path
import uvloop
from floe import programs

SOURCE = '''
#include <sys/wait.h>
#include <unistd.h>
int fork_and_wait(void) {
    pid_t child = fork();
    if (child == 0) { alarm(10); execl("/bin/true", "true", (char *)0); _exit(1); }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}
'''
library = Path(sys.argv[1], "forks.so")
subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=SOURCE.encode(), check=True)
forks = ctypes.CDLL(str(library))
statuses = []

def fork_again_and_again(enough):
    while not enough.is_set():
        statuses.append(forks.fork_and_wait())

async def main():
    enough = threading.Event()
    forker = threading.Thread(target=fork_again_and_again, args=(enough,), daemon=True)
    forker.start()
    for _ in range(300):
        await programs.run(["/bin/true"], seconds=30)
    enough.set()
    forker.join(30)

uvloop.run(main())
print(len(statuses) > 10, set(statuses))
"""


def test_a_process_forked_while_a_program_is_started_goes_on(tmp_path: Path):
    words = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True {0}\n", "")
