"""What a guest costs libvirt alone: run by scripts/bench within Floe's sandbox, beside Floe.

Reads jobs as lines of JSON from standard input and writes how many seconds each took. A job is what `cp`, `qemu-img
create` and `virsh create` do, without their own start-up, which would only flatter Floe:

    {"root": DIR}                                       open libvirt's embedded driver (once, first)
    {"copy": [FROM, TO] | null, "base": FILE, "overlay": FILE, "xml": TEXT}
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import libvirt

from floe.hypervisors.libvirt.connection import bindings, prepare_embed


def make(conn: Any, job: dict[str, Any]) -> float:
    began = time.perf_counter()
    if job["copy"]:
        shutil.copyfile(*job["copy"])
    overlay = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", job["base"], job["overlay"], "1G")
    subprocess.run(overlay, check=True)
    Path(job["overlay"]).chmod(0o666)  # the guest's user is who that of Floe's guest was
    domain = conn.createXML(job["xml"])
    seconds = time.perf_counter() - began
    domain.destroy()
    Path(job["overlay"]).unlink()
    return seconds


def main() -> None:
    bindings()
    conn = None
    for line in sys.stdin:
        job = json.loads(line)
        if conn is None:
            conn = libvirt.open(prepare_embed(Path(job["root"])))
            conn.getCapabilities()  # probes QEMU, once
            print(0.0, flush=True)
        else:
            print(make(conn, job), flush=True)


main()
