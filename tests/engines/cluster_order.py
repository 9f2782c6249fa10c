"""Whether a cluster has come to rest in order: asked of its APIs, its hosts and its journal."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from cluster_load import Customer
from role_processes import until

from cluster import Cluster


def comes_to_rest(cluster: Cluster, kept: AbstractSet[str]) -> None:
    """Wait until there are those servers that were kept, each ACTIVE, and no other; all must be in order then."""
    with Customer(cluster) as customer:
        wanted = dict.fromkeys(kept, "ACTIVE")
        differing: list[object] = []

        def rests() -> bool:
            seen = customer.states()
            if seen is None:
                return False
            servers = seen.keys() | wanted.keys()
            differing[:] = [
                (each, seen.get(each), wanted.get(each)) for each in servers if seen.get(each) != wanted.get(each)
            ]
            return not differing

        with told(lambda: f"(server, is, should be): {differing}"):
            until(rests, "")
        with told(lambda: f"{violations(cluster)}"):
            until(lambda: not violations(cluster), "")
        assert unfinished(cluster) == 0
        assert guests(cluster) == dict.fromkeys(kept, 1)


def remove_all(cluster: Cluster) -> None:
    """Delete every server of the customers' project, and wait until all are gone."""
    with Customer(cluster) as customer:
        until(lambda: customer.states() is not None, "nobody lists the servers")
        for server in customer.states() or ():
            customer.delete(server)
        comes_to_rest(cluster, set())


@contextlib.contextmanager
def told(what: Callable[[], str]) -> Iterator[None]:
    """Say what was found last, of something that was waited for in vain."""
    try:
        yield
    except AssertionError:
        raise AssertionError(what()) from None


def guests(cluster: Cluster) -> Counter[str]:
    """Return how many hosts have something of each server."""
    return Counter(path.name for path in (cluster.state / "hosts").glob("*/guests/*"))


def starts(cluster: Cluster) -> dict[str, int]:
    """Return how often each server that is there was started, as its console tells."""
    consoles = (cluster.state / "hosts").glob("*/guests/*/console.log")
    return {path.parent.name: path.read_text().count("floe: fake guest") for path in consoles}


def done_twice(cluster: Cluster) -> list[list[str]]:
    """Return steps that stand in the journal of one action, for one host, more often than they had to be done.

    A delete goes to each host on which something may be left. After each that failed or was undone, some are done anew:
    a host is chosen for what another one could not build.
    """
    return cluster.rows(
        "SELECT action_id, name, host, count(*) FROM action_steps AS done WHERE parent IS NULL AND state = 'done' "
        "GROUP BY action_id, name, host HAVING count(*) > 1 + (SELECT count(*) FROM action_steps AS other "
        "WHERE other.action_id = done.action_id AND other.parent IS NULL AND other.state IN ('failed', 'undone'))"
    )


def unfinished(cluster: Cluster) -> int:
    """Return how many actions somebody still has, or should have, in hand."""
    return int(cluster.rows("SELECT count(*) FROM actions WHERE finished_at IS NULL")[0][0])


def violations(cluster: Cluster) -> list[dict[str, str]]:
    """Return what the audit finds."""
    found: list[dict[str, str]] = cluster.client().get("/floe/v1/audit")["violations"]
    return found
