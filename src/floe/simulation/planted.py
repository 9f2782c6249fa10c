"""Planted bugs: mistakes that this cloud could have had. A simulator that does not find them is not worth running.

Each is planted from outside, for as long as its context lasts; the product has no switch for any of them.
"""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import Any

from msgspec import structs
from msgspec.structs import replace

from floe.cloud import host_guests, idempotency, new_servers, quotas, server_ports, servers
from floe.conductor import placing
from floe.conductor.flow import Flow
from floe.conductor.host_events import HostEvents
from floe.conductor.runner import Runner
from floe.conductor.saga import OnHost, Saga
from floe.core.actions import OPEN_STATES, RUNNING, SERVER
from floe.core.entries import BEGUN
from floe.core.guests import PowerState
from floe.core.messages import Spawned
from floe.simulation.planted_batches import BATCHES
from floe.simulation.planted_bus import BUS
from floe.simulation.planted_copied import COPIED
from floe.simulation.planted_hosts import HOSTS
from floe.simulation.planted_images import IMAGES
from floe.simulation.planted_leases import LEASES
from floe.simulation.planted_members import MEMBERS
from floe.simulation.planted_moved import MOVED
from floe.simulation.planted_operators import OPERATORS
from floe.simulation.planted_outside import OUTSIDE
from floe.simulation.planted_passwords import PASSWORDS
from floe.simulation.planted_power import POWER
from floe.simulation.planted_put_off import PUT_OFF
from floe.simulation.planted_rebuilt import REBUILT
from floe.simulation.planted_rescued import RESCUES
from floe.simulation.planted_resized import RESIZED
from floe.simulation.planted_roles import ROLES
from floe.simulation.planted_routers import ROUTERS
from floe.simulation.planted_sagas import SAGAS
from floe.simulation.planted_shelved import SHELVED
from floe.simulation.planted_wired import WIRED
from floe.simulation.planted_writes import WRITES
from floe.simulation.planting import Planted, altered, both, patched, with_undo
from floe.store import actions, allocations, history, holdings, leases, quota_usages
from floe.store import servers as server_rows
from floe.store.hosts import hosts

# -- the journal --------------------------------------------------------------------------------------

_effect = Flow.effect


async def _effect_before_its_entry(self: Flow, name: str, call: Any, **options: Any) -> Any:
    """Do the effect, and write that it was done, and how to undo it, when it is."""
    if self.journal.find(name) is not None:
        return await _effect(self, name, call, **options)
    result = await call()

    async def done() -> Any:
        return result

    return await _effect(self, name, done, **options)


async def _entry_before_the_effect(self: Flow, name: str, call: Any, **options: Any) -> Any:
    """Write that a spawn is done, and do it then."""
    if name != "spawn" or self.undoing:
        return await _effect(self, name, call, **options)

    async def claimed() -> Spawned:
        return Spawned(power_state=PowerState.RUNNING)

    step = self.journal.find(name)
    result = await _effect(self, name, claimed, **options)
    if step is None or step.state == BEGUN:
        await self.renew()
        return await call()
    return result


def _hold_open(conn: Any, action_id: str, owner: str, seen: int, state: str, now: Any, until: Any) -> bool:
    """Go on with an action that is open, whoever has it."""
    a = actions.actions
    held = a.update().where(a.c.id == action_id, a.c.state.in_(sorted(OPEN_STATES)))
    return bool(conn.execute(held.values(lease_owner=owner, lease_until=until, state=state, updated_at=now)).rowcount)


def _keep_open(conn: Any, owner: str, ids: Any, now: Any, until: Any) -> dict[str, int]:
    """Renew leases of actions that are open, whoever has them."""
    found = [each for ident in ids if (each := actions.get(conn, ident)) is not None]
    return {each.id: each.attempts for each in found if _hold_open(conn, each.id, owner, 0, each.state, now, until)}


def _end_open(conn: Any, action_id: str, owner: str, seen: int, state: str, message: str | None, now: Any) -> bool:
    """End an action that is open, whoever has it."""
    if not _hold_open(conn, action_id, owner, seen, RUNNING, now, now):
        return False
    actions.close(conn, action_id, state, message, now)
    return True


# -- claims and quota ---------------------------------------------------------------------------------


def _claim_unchecked(conn: Any, wanted: Any, *, group: Any = None, forced: bool = False, seen: Any = None) -> None:
    """Believe what the scheduler's table said before the transaction."""
    h, now = hosts, wanted.created_at
    conn.execute(
        h.update()
        .where(h.c.name == wanted.host)
        .values(
            vcpus_used=h.c.vcpus_used + wanted.resources.vcpus,
            memory_used=h.c.memory_used + wanted.resources.memory_mib,
            disk_used=h.c.disk_used + wanted.resources.disk_gib,
            updated_at=now,
        )
    )
    conn.execute(
        allocations.allocations.insert().values(
            server_id=wanted.server_id,
            host=wanted.host,
            project_id=wanted.project_id,
            user_id=wanted.user_id,
            group_id=wanted.group_id,
            vcpus=wanted.resources.vcpus,
            memory_mib=wanted.resources.memory_mib,
            disk_gib=wanted.resources.disk_gib,
            created_at=now,
        )
    )


async def _quota_before_the_transaction(cloud: Any, context: Any, new: Any, once: Any = None) -> Any:
    """Look whether there is room, and make the rows later."""
    fresh, now = cloud.new_id(), cloud.clock.now()
    plan = await cloud.db.read(
        lambda conn: new_servers.plan(conn, cloud, context, context.project_id, new, fresh, now, fresh)
    )
    _SEEN.set(True)
    try:
        return await _create(cloud, context, structs.replace(new, max_count=plan.count), once)
    finally:
        _SEEN.set(False)


_SEEN: ContextVar[bool] = ContextVar("seen", default=False)
"""Whether room was found, before the transaction."""


def _room_seen_to(conn: Any, project_id: str, user_id: str) -> quotas.Room:
    """Set no limits to what was found to have room."""
    found = _room(conn, project_id, user_id)
    unlimited = dict.fromkeys(("instances", "cores", "ram"), -1) if _SEEN.get() else {}
    return replace(found, limits={**found.limits, **unlimited}, own={**found.own, **unlimited})


_create, _room = servers.create, quotas.room_of_user


def _room_by_number_alone(conn: Any, project_id: str, user_id: str) -> quotas.Room:
    """Forget to count cores and memory."""
    found, none = _room(conn, project_id, user_id), {"cores": 0, "ram": 0}
    return replace(found, used=Counter({**found.used, **none}), own_used=Counter({**found.own_used, **none}))


def _delete_uncounted(conn: Any, server_id: str, now: Any) -> None:
    """Make a server gone, and lose the counts that quotas are held against."""
    conn.execute(quota_usages.quota_usages.delete())
    _mark_deleted(conn, server_id, now)


_mark_deleted = server_rows.mark_deleted


# -- undo and delete ----------------------------------------------------------------------------------


def _undo_gives_back(cloud: Any, saga: Saga) -> Saga:
    """Give the claim's amounts back in the undo, which may run twice, and leave its row for later."""

    async def undo(node: OnHost, flow: Flow, step: Any) -> Any:
        await cloud.db.write(lambda conn: _give(conn, cloud.clock.now(), flow))
        return await node.undo(flow, step) if node.undo else None

    return with_undo(saga, undo)


def _give(conn: Any, now: Any, flow: Flow) -> None:
    for held in allocations.of_server(conn, flow.action.subject_id):
        h, given = hosts.c, held.resources
        conn.execute(
            hosts.update()
            .where(h.name == held.host)
            .values(
                vcpus_used=h.vcpus_used - given.vcpus,
                memory_used=h.memory_used - given.memory_mib,
                disk_used=h.disk_used - given.disk_gib,
                updated_at=now,
            )
        )


def _undo_another(_cloud: Any, saga: Saga) -> Saga:
    """Leave the guest where it is, and destroy what is not there."""

    async def undo(node: OnHost, flow: Flow, step: Any) -> Any:
        return structs.replace(await node.undo(flow, step), server_id=_NOBODY) if node.undo else None

    return with_undo(saga, undo)


_NOBODY = "00000000-0000-4000-8000-000000000000"


def _release_no_port(conn: Any, server_id: str, now: Any) -> tuple[str, ...]:
    """Forget the ports."""
    return ()


def _cancel_nothing(conn: Any, ident: str, now: Any, *, but: str, subject: str = SERVER) -> bool:
    """Let the build go on."""
    return bool(actions.find(conn, ident, subject=subject, is_open=True, kind=but, limit=1))


def _no_hosts(conn: Any, server_id: str) -> dict[str, str]:
    """Know of no host that something may be on."""
    return {}


def _nothing_owed(conn: Any, host: str) -> list[Any]:
    """Expect nothing of a host."""
    return []


def _keep_no_answer(conn: Any, cloud: Any, project_id: str, once: Any, answer: Any, now: Any) -> None:
    """Forget what a key was used for."""


# -- nets ---------------------------------------------------------------------------------------------


async def _no_sweep(self: Runner, most: int = 256) -> int:
    """Trust that every nudge arrives."""
    return 0


def _none_astray(conn: Any, host: str, row: Any, *, at_home: bool = False) -> list[Any]:
    """Leave guests that nobody wants."""
    return []


async def _no_check(self: HostEvents, host: str) -> None:
    """Trust that every event arrives."""


PLANTED = (
    Planted(
        "undo-after-effect",
        "the journal learns of an effect, and of how to undo it, only after it",
        patched(
            (Flow, "effect", _effect_before_its_entry),
            (placing, "Begin", lambda **_: None),
        ),
    ),
    Planted(
        "step-before-effect",
        "a step is recorded as done before its effect",
        patched((Flow, "effect", _entry_before_the_effect)),
    ),
    Planted(
        "no-fencing",
        "a conductor that lost its lease goes on writing",
        patched((actions, "hold", _hold_open), (actions, "end", _end_open), (leases, "keep", _keep_open)),
    ),
    Planted(
        "claim-outside",
        "capacity and group policy are checked before the transaction that claims",
        patched((allocations, "claim", _claim_unchecked)),
    ),
    Planted(
        "quota-outside",
        "the quota is checked before the transaction that makes the rows",
        patched((servers, "create", _quota_before_the_transaction), (quotas, "room_of_user", _room_seen_to)),
    ),
    Planted(
        "quota-of-cores",
        "cores and memory are not counted",
        patched((quotas, "room_of_user", _room_by_number_alone)),
    ),
    Planted("no-sweep", "an action whose nudge was lost is not found", patched((Runner, "sweep", _no_sweep))),
    Planted(
        "undo-not-idempotent",
        "an undo that runs twice gives back twice",
        altered(_undo_gives_back),
    ),
    Planted(
        "no-undo",
        "a failed build is neither undone nor found by the sweep",
        both(
            altered(_undo_another), patched((host_guests, "strays", _none_astray), (host_guests, "owed", _nothing_owed))
        ),
    ),
    Planted("count-left", "a delete loses counts", patched((server_rows, "mark_deleted", _delete_uncounted))),
    Planted("port-forgotten", "a server's end leaves its ports", patched((server_ports, "release", _release_no_port))),
    Planted(
        "delete-waits-for-nobody",
        "a delete does not cancel the build",
        patched((actions, "cancel_open", _cancel_nothing)),
    ),
    Planted(
        "delete-knows-one-host",
        "a delete asks only the host in the row, not all that may have something",
        patched((holdings, "find", _no_hosts), (holdings, "owed", _nothing_owed)),
    ),
    Planted("events-trusted", "guests are not compared with the rows", patched((HostEvents, "check", _no_check))),
    *HOSTS,
    *IMAGES,
    *BATCHES,
    *MEMBERS,
    *ROLES,
    *BUS,
    *LEASES,
    *SAGAS,
    *WIRED,
    *PUT_OFF,
    *REBUILT,
    *RESCUES,
    *RESIZED,
    *MOVED,
    *SHELVED,
    *COPIED,
    *WRITES,
    *POWER,
    *PASSWORDS,
    *OPERATORS,
    *ROUTERS,
    *OUTSIDE,
    Planted(
        "key-forgotten",
        "a request that is sent again is done again",
        patched((idempotency, "keep", _keep_no_answer)),
        needs="again",
    ),
    Planted(
        "past-forgotten",
        "a server's history goes, and with it that there was one",
        patched((history, "SERVERS", replace(history.SERVERS, keep=lambda _conn, _keys: None))),
    ),
)
