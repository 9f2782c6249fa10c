"""Runs tests of Tempest with real guests, which they log in to by floating IPs; run by `scripts/tempest`, as root.

The cloud is a `floe up --sandbox` with libvirt, and Tempest runs within its sandbox: the outside of routers is there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import openstack
from demo import FLOE, Place, clean_environment, console, end_cloud, start_cloud, stop_on_signal, tail
from rich.markup import escape
from rich.table import Table

from acceptance import HERE, ROOT, Count, Result, count, ended_after

LISTS = ("vm-core", "scenario")
RUN_SECONDS = 4 * 3600.0
MARKS = {"passed": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[yellow]-[/]"}


def expressions(words: Sequence[str]) -> list[str]:
    """Return the regular expressions of lists, each a file, the name of one of ours, or an expression itself."""
    found = []
    for word in words:
        ours = HERE / f"tempest-{word.removeprefix('tempest-').removesuffix('.txt')}.txt"
        file = next((path for path in (Path(word), ours) if path.is_file()), None)
        lines = file.read_text().splitlines() if file else [word]
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for each in found:
        try:
            re.compile(each)
        except re.error as error:
            raise SystemExit(f"tempest: {each!r} is no regular expression: {error}") from None
    return found


@contextmanager
def cloud(*, keep: bool) -> Iterator[tuple[Place, str]]:
    """Run a cloud in a sandbox; yield where it is and its URL. Nothing of it is left, but with `keep` its logs."""
    at = Place(Path(tempfile.mkdtemp(prefix="floe-tempest-", dir="/var/tmp")))
    at.root.chmod(0o711)  # guests are users of their own, and their disks are in there
    try:
        line = start_cloud(at, "--hypervisor", "libvirt")
        yield at, line.split(" at ", 1)[1].split()[0]
    except BaseException:
        console.print(f"[dim]The last lines of floe up:[/]\n{escape(tail(at.log, 25))}")
        raise
    finally:
        kept = Path(tempfile.mkdtemp(prefix="floe-tempest-logs-", dir="/var/tmp")) if keep else None
        for log in (at.log, at.root / "tempest.log") if kept else ():
            if kept and log.exists():
                shutil.copy(log, kept)
        if kept:
            console.print(f"The logs are in {kept}: remove them afterwards.")
        end_cloud(at)


def furnish(at: Place, url: str, image: Path) -> None:
    """Make what Tempest needs to find, and write its configuration."""
    entries = json.loads((at.state / "secrets.json").read_text())["passwords"]
    auth = {
        "auth_url": f"{url}/identity/v3", "username": "admin", "password": entries["admin"], "project_name": "admin",
        "user_domain_id": "default", "project_domain_id": "default",
    }  # fmt: skip
    with openstack.connect(load_envvars=False, load_yaml_config=False, auth=auth, region_name="RegionOne") as admin:
        images = [
            admin.image.create_image(name, filename=str(image), disk_format="qcow2", visibility="public").id
            for name in ("tiny", "tiny-too")
        ]
        flavors = [
            admin.compute.create_flavor(name=name, ram=memory, vcpus=1, disk=disk).id
            for name, memory, disk in (("guest", 128, 1), ("guest-larger", 192, 2))
        ]
        public = admin.network.find_network("public").id
    told = {
        "folder": str(at.root), "identity": f"{url}/identity/v3", "password": entries["admin"], "public": public,
        "image": images[0], "image_alt": images[1], "flavor": flavors[0], "flavor_alt": flavors[1], "file": str(image),
    }  # fmt: skip
    conf = string.Template((HERE / "tempest-guests.conf").read_text()).substitute(told)
    (at.root / "tempest.conf").write_text(conf)


def results(at: Place, chosen: Sequence[str]) -> Iterator[Result]:
    """Run the tests within the sandbox, and tell of each as it ends."""
    words = [ROOT / ".venv-tempest/bin/python", ROOT / "scripts/lib/tempest_tests.py", "--regex", *chosen]
    environment = clean_environment() | {
        "TEMPEST_CONFIG_DIR": str(at.root), "TEMPEST_CONFIG": "tempest.conf", "HOME": str(at.root)
    }  # fmt: skip
    with (at.root / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [FLOE, "exec", "--state", at.state, "--", *words],
            cwd=at.root, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            with ended_after(RUN_SECONDS, process):
                for line in process.stdout:
                    if line.startswith("{"):
                        said: dict[str, Any] = json.loads(line)
                        result = Result(said["test"], said["outcome"], said["why"])
                        tell(result, said["seconds"])
                        yield result
                status = process.wait()
            if status != 0:
                errors.seek(0)
                yield Result("tempest itself", "failed", errors.read()[-2000:])
        finally:
            process.terminate()
            process.wait(30)


def tell(result: Result, seconds: float) -> None:
    why = "" if result.outcome == "passed" else f": {escape(result.why)[:300]}"
    console.print(f"{MARKS[result.outcome]} {result.test} [dim]{seconds:.0f} s[/]{why}")


def show(found: Count, seconds: float) -> None:
    """Print what failed and why, what is not there, and counts by module."""
    for result in found.wrong:
        console.print(f"[red]{result.outcome}[/]: {result.test}\n    {escape(result.why)}")
    for result in found.missing:
        console.print(f"[yellow]not there[/] ({result.outcome}): {result.test}\n    {escape(result.why)[:200]}")
    for result in found.surprises:
        console.print(f"[yellow]passes[/]: {result.test}: take it off the list of what is not there")
    kinds = {"passed": found.passed, "failed": [], "skipped": [], "not there": found.missing}
    for result in found.wrong:
        kinds[result.outcome].append(result)
    counts = {kind: Counter(module_of(each.test) for each in those) for kind, those in kinds.items()}
    table = Table("module", *counts)
    for module in sorted(set().union(*counts.values())):
        table.add_row(module, *(str(each[module]) for each in counts.values()))
    table.add_row("[bold]in all[/]", *(f"[bold]{each.total()}[/]" for each in counts.values()))
    console.print(table)
    console.print(f"{seconds:.0f} s")


def module_of(test: str) -> str:
    """Return the module of a test: what comes before its class."""
    return ".".join(takewhile(lambda part: not part[:1].isupper(), test.split(".")))


def main() -> int:
    """Run the lists named; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/tempest")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("lists", metavar="LIST", nargs="*")
    args = parser.parse_args()
    chosen = expressions(args.lists or LISTS)
    signal.signal(signal.SIGTERM, stop_on_signal)
    os.environ |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    began = time.monotonic()
    try:
        with cloud(keep=args.keep) as (at, url):
            furnish(at, url, args.image)
            found = list(results(at, chosen))
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    counted = count("tempest", found, time.monotonic() - began, "guests")
    show(counted, time.monotonic() - began)
    return 1 if counted.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
