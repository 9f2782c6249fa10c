"""The pools of threads that callers of the cloud share, each for one kind of slow work."""

from __future__ import annotations

import os

import msgspec

from floe.core.context import Context
from floe.core.counters import Counters
from floe.pools import Caller, Pool, give_back_memory

_CORES = os.cpu_count() or 1


class Pools(msgspec.Struct, frozen=True, kw_only=True):
    """A pool for each kind of slow work."""

    passwords: Pool
    """Argon2: half of the cores, 19 MiB and some 30 ms each. Callers are (lane, address or project, user)."""
    keys: Pool
    """Generated keypairs, some 0.1 s each. Callers are (project, user)."""
    blobs: Pool
    """Bytes of images, read, hashed and written. Callers are (project,)."""

    def close(self) -> None:
        """Let go of all threads."""
        for pool in (self.passwords, self.keys, self.blobs):
            pool.close()


def make_pools(counters: Counters | None = None) -> Pools:
    """Return the pools of a process, which has no thread of them before it needs one."""
    counters = counters or Counters()
    return Pools(
        passwords=Pool("passwords", max(1, min(4, _CORES // 2)), counters=counters, when_idle=give_back_memory),
        keys=Pool("keys", max(1, min(4, _CORES // 2)), most_waiting=64, most_each=16, counters=counters),
        blobs=Pool("blobs", 4 + _CORES, most_waiting=1024, counters=counters),
    )


def caller(context: Context) -> Caller:
    """Return whose turn the work of a request takes: its project's, and within that its user's."""
    return context.project_id or context.domain_id or "", context.user_id
