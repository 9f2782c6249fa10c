"""Runs software that knows nothing of Floe against clouds for trials, and counts; run by `scripts/acceptance`.

Each part has a cloud of its own: a `floe up` with fake hosts on loopback, its state in a temporary folder. A test that
cannot pass, as what it needs is not there, stands in `tests/acceptance/PART-not-there.txt` with the reason; what only
fake hosts lack, in `PART-fake-hosts-not-there.txt`.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from floe.cli.credentials import clouds

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "acceptance"
HOSTS = 3
IMAGE = "cirros-fake-disk"
START_SECONDS = 60
PLAYBOOK_SECONDS = 900
SUITE_SECONDS = 2400

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one test: passed, failed or skipped, and why."""

    test: str
    outcome: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class NotThere:
    """A line of a list of what is not there: tests by name, and the reason. Those left out are not even run."""

    pattern: str
    reason: str
    left_out: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """A running cloud: where its files are, and the file that tells clients of it."""

    folder: Path
    url: str
    clouds: Path

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment that names no other cloud than this."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "FLOE_", "ANSIBLE_"))}
        home = {"HOME": str(self.folder), "OS_CLIENT_CONFIG_FILE": str(self.clouds), "LC_ALL": "C.UTF-8"}
        return kept | home | more


@contextmanager
def ended_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process that is still at it after so long."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def trial() -> Iterator[Trial]:
    """Run a cloud with fake hosts and, beside the users it comes with, one of another project."""
    with tempfile.TemporaryDirectory(prefix="floe-acceptance-") as name:
        folder = Path(name)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FLOE_")}
        with (folder / "floe.log").open("w") as log:
            process = subprocess.Popen(
                [ROOT / ".venv/bin/floe", "up", "--state", folder / "state", "--listen", "127.0.0.1:0",
                 "--hypervisor", "fake", "--fake-hosts", str(HOSTS)],
                stdout=subprocess.PIPE, stderr=log, env=environment, text=True,
            )  # fmt: skip
        try:
            assert process.stdout is not None
            with ended_after(START_SECONDS, process):
                line = process.stdout.readline()
            if not line.startswith("floe: ready"):
                raise SystemExit(f"acceptance: floe did not start: {(folder / 'floe.log').read_text()[-2000:]}")
            url = line.split(" at ", 1)[1].split()[0]
            yield Trial(folder, url, furnish(folder, url))
        finally:
            process.terminate()
            process.wait(30)


def furnish(folder: Path, url: str) -> Path:
    """Make a second user and an image for everyone; return the file of clouds, under the SDK tests' own names too."""
    import openstack

    passwords = json.loads((folder / "state" / "secrets.json").read_text())["passwords"]
    entries = clouds(f"{url}/identity/v3", "RegionOne", passwords)
    other = copy.deepcopy(entries["floe"])
    other["auth"] |= {"username": "other", "password": "of another project", "project_name": "other"}
    names = {"devstack": "floe", "devstack-admin": "floe-admin", "devstack-system-admin": "floe-system-admin"}
    entries |= {"floe-other": other, "devstack-alt": other} | {name: entries[as_] for name, as_ in names.items()}
    file = folder / "clouds.json"
    file.write_text(json.dumps({"clouds": entries}))
    with openstack.connect(load_envvars=False, load_yaml_config=False, **entries["floe-admin"]) as admin:
        project = admin.identity.create_project(name="other", domain_id="default")
        user = admin.identity.create_user(name="other", password="of another project", domain_id="default")
        admin.identity.assign_project_role_to_user(project, user, admin.identity.find_role("member"))
        disk = empty_disk(folder / "cirros.qcow2")
        # The clients' tests look for the flavors and images of DevStack, and for a project that uses something.
        image = admin.image.create_image(IMAGE, filename=str(disk), disk_format="qcow2", visibility="public")
        admin.compute.delete_flavor(admin.compute.find_flavor("m1.nano"))
        for name, memory in (("cirros256", 256), ("m1.large", 8192), ("m1.xlarge", 16384)):
            admin.compute.create_flavor(name=name, ram=memory, vcpus=memory // 2048 or 1, disk=1)
        flavor = admin.compute.find_flavor("cirros256")
        *_, last = (each.name for each in admin.compute.hypervisors())  # Tempest gives the first hosts other zones
        server = admin.compute.create_server(
            name="standing", image_id=image.id, flavor_id=flavor.id, networks="none", availability_zone=f"nova:{last}"
        )
        admin.compute.wait_for_server(server)
    return file


def empty_disk(path: Path) -> Path:
    """Make an image that nobody can boot and every service takes."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"], check=True)
    return path


def ansible(there: Trial) -> Iterator[Result]:
    """Run each pair of playbooks: made, made again, taken away, taken away again; the repeats must change nothing."""
    key, image = there.folder / "key", empty_disk(there.folder / "disk.qcow2")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann@example", "-f", key], check=True)
    bin_ = ROOT / ".venv-ansible/bin"
    environment = there.environment(
        ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".venv-ansible/collections"), ANSIBLE_HOME=str(there.folder / "ansible"),
        ANSIBLE_LOCALHOST_WARNING="False", ANSIBLE_INVENTORY_UNPARSED_WARNING="False", ANSIBLE_NOCOLOR="1",
        ANSIBLE_NOCOWS="1",
    )  # fmt: skip
    told = {"ansible_python_interpreter": str(bin_ / "python"), "image_file": str(image), "key_file": f"{key}.pub"}
    for folder in sorted(path for path in (HERE / "ansible").iterdir() if path.is_dir()):
        for name, again in (("make", False), ("make", True), ("remove", False), ("remove", True)):
            done = subprocess.run(
                [bin_ / "ansible-playbook", "-i", "localhost,", "-e", json.dumps(told), folder / f"{name}.yml"],
                cwd=there.folder, env=environment, timeout=PLAYBOOK_SECONDS, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            yield judge_playbook(f"{folder.name}: {name}{', again' if again else ''}", again, done.stdout + done.stderr)


def judge_playbook(test: str, again: bool, text: str) -> Result:
    """Return whether a run was in order, by what it says at its end."""
    recap = re.search(r"changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", text)
    changed, *wrong = (int(number) for number in recap.groups()) if recap else (0, 1)
    if any(wrong):
        errors = re.findall(r"\[ERROR\]: (.*)", text) or [text[-1000:]]
        return Result(test, "failed", errors[0])
    if again and changed:
        tasks = re.split(r"^TASK ", text, flags=re.MULTILINE)
        which = [task.split("]")[0] + "]" for task in tasks if re.search(r"^changed:", task, flags=re.MULTILINE)]
        return Result(test, "failed", f"changed again: {', '.join(which)}")
    if not again and not changed:
        return Result(test, "failed", "it changed nothing")
    return Result(test, "passed")


def sdk(there: Trial) -> Iterator[Result]:
    """Run openstacksdk's functional tests."""
    left_out = [each.pattern for each in not_there("sdk") if each.left_out]
    (there.folder / "CONTRIBUTING.rst").write_text("What a test of images uploads.\n")
    environment = there.environment(OS_CLOUD="devstack-admin", OS_TEST_TIMEOUT="120", OS_LOG_CAPTURE="1")
    yield from told_by("sdk", [ROOT / "scripts/lib/sdk_tests.py", *left_out], there, environment)


def osc(there: Trial) -> Iterator[Result]:
    """Run python-openstackclient's functional tests of the compute and network commands."""
    yield from told_by("osc", [ROOT / "scripts/lib/osc_tests.py"], there, there.environment())


def libraries(there: Trial) -> Iterator[Result]:
    """Walk through the cloud with the libraries that were there before openstacksdk."""
    yield from told_by("sdk", [ROOT / "scripts/lib/library_walks.py"], there, there.environment(OS_CLOUD="floe"))


def tempest(there: Trial) -> Iterator[Result]:
    """Run the tests of Tempest that tests/acceptance/tempest-run.txt names."""
    lines = (HERE / "tempest-run.txt").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    (there.folder / "tempest.conf").write_text(tempest_conf(there))
    environment = there.environment(TEMPEST_CONFIG_DIR=str(there.folder), TEMPEST_CONFIG="tempest.conf")
    yield from told_by("tempest", [ROOT / "scripts/lib/tempest_tests.py", *patterns], there, environment)


def tempest_conf(there: Trial) -> str:
    """Make what Tempest needs to find, and return its configuration."""
    import openstack

    admin = json.loads(there.clouds.read_text())["clouds"]["floe-admin"]
    with openstack.connect(load_envvars=False, load_yaml_config=False, **admin) as cloud:
        disk = empty_disk(there.folder / "another.qcow2")
        another = cloud.image.create_image("another", filename=str(disk), disk_format="qcow2", visibility="public")
        certified, certificate = signed_image(there, cloud, disk)
        told = {
            "folder": str(there.folder),
            "identity": f"{there.url}/identity/v3",
            "password": admin["auth"]["password"],
            "image": cloud.image.find_image(IMAGE).id,
            "image_alt": another.id,
            "image_certified": certified,
            "certificate": certificate,
            "public": cloud.network.find_network("public").id,
            "flavor": cloud.compute.find_flavor("cirros256").id,
            "flavor_alt": cloud.compute.find_flavor("m1.large").id,
        }
    return string.Template((HERE / "tempest.conf").read_text()).substitute(told)


def signed_image(there: Trial, cloud: Any, disk: Path) -> tuple[str, str]:
    """Make an image that is signed under a certificate which the cloud keeps; return the ids of both."""
    sys.path.insert(0, str(ROOT / "tests/engines"))
    from signers import root

    signer = root().keep(there.folder / "state/image-certificates")
    said = signer.properties(disk.read_bytes())
    made = cloud.image.create_image("certified", filename=str(disk), disk_format="qcow2", visibility="public", **said)
    return made.id, signer.ident


def told_by(venv: str, command: Sequence[str | Path], there: Trial, environment: dict[str, str]) -> Iterator[Result]:
    """Run a program, in an environment made for it, that tells of each test in a line of JSON."""
    with (there.folder / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [ROOT / f".venv-{venv}/bin/python", *command],
            cwd=there.folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            with ended_after(SUITE_SECONDS, process):
                for line in process.stdout:
                    if line.startswith("{"):
                        said: dict[str, Any] = json.loads(line)
                        yield Result(said["test"], said["outcome"], said["why"])
                status = process.wait()
            if status != 0:
                errors.seek(0)
                yield Result(str(command[0]), "failed", errors.read()[-2000:])
        finally:
            process.terminate()


def not_there(part: str) -> list[NotThere]:
    """Read the list of what a part cannot pass; `!` before a name leaves it out altogether."""
    file = HERE / f"{part}-not-there.txt"
    found = []
    for line in file.read_text().splitlines() if file.exists() else []:
        if line and not line.startswith("#"):
            pattern, _, reason = line.partition(" ")
            if not reason.strip():
                raise SystemExit(f"acceptance: {file}: {pattern} has no reason")
            found.append(NotThere(pattern.lstrip("!"), reason.strip(), pattern.startswith("!")))
    return found


@dataclass(frozen=True, slots=True)
class Count:
    """A part's results, told apart. Those `missing` are listed and did not pass; `surprises` are listed and did."""

    part: str
    seconds: float
    passed: list[Result]
    missing: list[Result]
    surprises: list[Result]
    wrong: list[Result]
    unused: list[str]


def count(part: str, results: list[Result], seconds: float, where: str) -> Count:
    """Hold the results of a part against the lists of what is not there: at all, and `where` it ran."""
    listed = [each for name in (part, f"{part}-{where}") for each in not_there(name) if not each.left_out]
    known = {result.test: [e for e in listed if fnmatchcase(result.test, e.pattern)] for result in results}
    used = {each.pattern for found in known.values() for each in found}
    return Count(
        part,
        seconds,
        passed=[r for r in results if r.outcome == "passed"],
        missing=[r for r in results if r.outcome != "passed" and known[r.test]],
        surprises=[r for r in results if r.outcome == "passed" and known[r.test]],
        wrong=[r for r in results if r.outcome != "passed" and not known[r.test]],
        unused=[each.pattern for each in listed if each.pattern not in used],
    )


def show(counts: list[Count]) -> None:
    """Print what went wrong, what passes and need not be listed any more, and the table of counts."""
    for each in counts:
        for result in each.wrong:
            console.print(f"[red]{result.outcome}[/] {each.part}: {result.test}\n    {escape(result.why)}")
        for result in each.surprises:
            console.print(f"[yellow]passes[/] {each.part}: {result.test}: take it off the list of what is not there")
        for pattern in each.unused:
            console.print(f"[yellow]unused[/] {each.part}: no test is named {pattern}, which is listed as not there")
    table = Table("part", "tests", "passed", "not there", "wrong", "seconds")
    for each in counts:
        tests = len(each.passed) + len(each.missing) + len(each.wrong)
        numbers = (tests, len(each.passed), len(each.missing), len(each.wrong), round(each.seconds))
        table.add_row(each.part, *(str(number) for number in numbers))
    console.print(table)


PARTS: dict[str, Callable[[Trial], Iterator[Result]]] = {
    "ansible": ansible,
    "sdk": sdk,
    "osc": osc,
    "libraries": libraries,
    "tempest": tempest,
}


def main() -> int:
    """Run the parts named; return the exit status."""
    if not shutil.which("qemu-img"):
        raise SystemExit("acceptance: qemu-img is missing; scripts/acceptance installs it")
    counts = []
    for part in sys.argv[1:]:
        began = time.monotonic()
        console.print(f"... {part}")
        with trial() as there:
            results = list(PARTS[part](there))
        counts.append(count(part, results, time.monotonic() - began, "fake-hosts"))
    show(counts)
    return 1 if any(each.wrong for each in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
