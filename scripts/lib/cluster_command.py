"""`scripts/cluster`, when all is installed: starts a cluster in a directory, says how to use it, ends it."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster_plan import ENGINES, FAKE, LIBVIRT, PLAN, PROXY, ClusterFailed, Shape, planned

from cluster import Cluster, end_all

ROOT = Path(__file__).resolve().parents[2]
_USUAL_PORT = 8774
_SHAPES = {"agents": (1, 200), "hosts_each": (1, 10_000), "fake_delay": (0, 3600)}
"""The least and the most that may be given of each; agents are processes."""
_OF_FAKES = {"hosts_each", "fake_delay"}


def place() -> Path:
    """Return where the cluster of this checkout is.

    It is not in the checkout since PostgreSQL's user may not be let in there.
    """
    digest = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    return Path("/var/tmp") / f"floe-cluster-{digest}"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a directory alone, which is made. Raises ClusterFailed for one that has something else than a cluster."""
    while True:
        refuse_foreign(folder)
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another scripts/cluster is at work in {folder}; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Whoever held it may have removed it.
            if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
                refuse_foreign(folder)
                yield
                return
        finally:
            os.close(handle)


def refuse_foreign(folder: Path) -> None:
    """Raise ClusterFailed for a directory that is somebody else's, or that has something else in it."""
    if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.geteuid()):
        raise ClusterFailed(f"{folder} is another user's, or a link: give a directory of your own by --dir")
    if folder.exists() and not folder.is_dir():
        raise ClusterFailed(f"{folder} is no directory: give another by --dir")
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if found and not found & {PLAN, f".{PLAN}"}:
        raise ClusterFailed(f"{folder} has something else in it than a cluster: give an empty or a new one by --dir")


def start(folder: Path, shape: Shape | None) -> None:
    """Start what does not run, and say how to use it."""
    with held(folder):
        cluster = Cluster(folder, planned(folder, shape, usual=_USUAL_PORT), tell=say)
        there = cluster.running()
        say(f"{len(there)} processes are there already" if there else f"about to start one in {folder}")
        if not cluster.start():
            say("all of it is there already")
        how_to_use(cluster)


def end(folder: Path) -> None:
    """End the cluster of a directory, whatever is left of it, and remove that."""
    if not folder.exists():
        found = end_all(folder)
        say(f"there was no {folder}, but processes of it, which are ended" if found else f"there is none in {folder}")
        return
    with held(folder):
        end_all(folder)
        shutil.rmtree(folder)
    say(f"ended, and {folder} is removed")


def how_to_use(cluster: Cluster) -> None:
    """Print it, the line for programs first."""
    root = "sudo " if "SUDO_UID" in os.environ else ""
    floe = f"{root}{ROOT}/.venv/bin/floe"
    mine = "" if cluster.folder == place() else f" --dir {cluster.folder}"
    processes = ", ".join([*ENGINES, PROXY, *cluster.roles])
    kind = cluster.image.suffix[1:]
    print(
        f"""\
cluster: ready at {cluster.url}, clouds.yaml: {cluster.clouds}

  export OS_CLIENT_CONFIG_FILE={cluster.clouds}
  export PATH="{ROOT}/.venv-client/bin:$PATH"
  openstack --os-cloud floe image create --disk-format {kind} --file {cluster.image} tiny
  openstack --os-cloud floe server create --image tiny --flavor m1.nano --wait first
  openstack --os-cloud floe-admin compute service list

hosts, load, and what is being done:   {floe} top --state {cluster.state}
each step of a server:                 {floe} trace --state {cluster.state} first
is everything as it must be:           {floe} audit --state {cluster.state}
how each process is:                   curl {cluster.url_of(cluster.roles[-1])}/healthz   (or /metrics)
what each process says:                {cluster.folder}/log/
the processes:                         {processes}
start those that were killed:          {root}scripts/cluster{mine}
end it:                                {root}scripts/cluster --end{mine}

{_of_guests(cluster, floe)}""",
        flush=True,
    )


def _of_guests(cluster: Cluster, floe: str) -> str:
    if not cluster.real:
        return "Hosts are fake ones: the whole API works, on guests that exist in memory alone."
    state = cluster.state_of("agent-N")
    return f"""\
what a guest has to say:               openstack --os-cloud floe console log show first
log in (host-N: where it is):          {floe} exec --state {state} --network NETWORK_ID -- ssh root@ADDRESS
what runs on a host:                   {floe} sandbox status --state {state}

Guests are real, under libvirt. Each host is a sandbox on this machine, and networks do not reach from one to another:
guests on two hosts do not reach each other, also on one network; each host has that network's DHCP and router to
itself, and a floating IP is reached within the sandbox of its guest's host alone. Guests do not move."""


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/cluster", description=__doc__.partition(": ")[2])
    parser.add_argument("--dir", type=Path, default=place(), metavar="DIR", help="keep everything there (%(default)s)")
    parser.add_argument("--hypervisor", choices=(FAKE, LIBVIRT), help="whether guests are real: needs root (fake)")
    parser.add_argument("--agents", type=int, metavar="N", help="processes of agents (3)")
    parser.add_argument("--hosts-each", type=int, metavar="N", help="fake hosts of each (1)")
    parser.add_argument("--fake-delay", type=float, metavar="SECONDS", help="that fake guests take to start (0)")
    parser.add_argument("--end", action="store_true", help="end it, and remove what it made")
    args = parser.parse_args(argv)
    given = {name: value for name in _SHAPES if (value := getattr(args, name)) is not None}
    for name, value in given.items():
        if not _SHAPES[name][0] <= value <= _SHAPES[name][1]:
            least, most = _SHAPES[name]
            parser.error(f"--{name.replace('_', '-')} must be between {least} and {most} (it is {value:g})")
    if args.hypervisor == LIBVIRT and given.keys() & _OF_FAKES:
        parser.error("--hosts-each and --fake-delay are for fake hosts")
    if args.hypervisor:
        given["hypervisor"] = args.hypervisor
    folder = args.dir.absolute()
    try:
        if args.end:
            end(folder)
        else:
            start(folder, Shape(**given) if given else None)
    except (ClusterFailed, RuntimeError, OSError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted: scripts/cluster goes on from here, scripts/cluster --end removes it")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
