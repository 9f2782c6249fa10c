"""What a cluster has where guests are real: of each agent a sandbox and a state directory of its own, and an image."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cluster_plan import ClusterFailed, Shape

from floe.cli import sandbox
from floe.settings import GUEST_UIDS, Settings


def state_of(folder: Path, agent: str) -> Path:
    """Return the state directory of an agent."""
    return folder / agent.replace("agent", "host")


def words(folder: Path, agent: str, shape: Shape) -> list[str]:
    """Return what has an agent be a machine of its own; all of them together promise what the real one has."""
    agents, usual = shape.names(), Settings()
    uids = usual.first_guest_uid + agents.index(agent) * GUEST_UIDS
    found = ["--sandbox", "--state", str(state_of(folder, agent)), "--first-guest-uid", str(uids)]
    for ratio in ("cpu_ratio", "memory_ratio", "disk_ratio"):
        found += [f"--{ratio.replace('_', '-')}", f"{getattr(usual, ratio) / len(agents):.4f}"]
    return found


def give_image(image: Path) -> None:
    """Put the image there that guests boot from, if it is not. Raises ClusterFailed."""
    if image.exists():
        return
    if "GUEST_IMAGE" not in os.environ:
        raise ClusterFailed("real guests need an image: scripts/cluster builds it, and names it in GUEST_IMAGE")
    half = image.with_name(f".{image.name}")
    shutil.copyfile(os.environ["GUEST_IMAGE"], half)
    half.rename(image)


def end_all(folder: Path) -> None:
    """End the guests of a cluster, and whatever else is in the sandboxes of its agents, which have ended."""
    for place in folder.glob("host-*/sandbox"):
        sandbox.remove(place.parent)
