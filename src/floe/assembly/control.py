"""The roles that see the database: what an API and a conductor are each made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random

from msgspec.structs import replace

from floe.api.role import Api
from floe.assembly.images import no_store, store
from floe.assembly.process import Plain
from floe.assembly.surroundings import MachineClock, Surroundings, text_of
from floe.cloud.cloud import Cloud, CloudSettings
from floe.cloud.health import Ground, ImageStore
from floe.cloud.pools import make_pools
from floe.conductor.conductor import Conductor
from floe.conductor.fleet import ConductorSettings
from floe.conductor.image_actions import ImageActions
from floe.core.counters import Counters
from floe.core.errors import Invalid
from floe.core.ids import random_id
from floe.places import one_at_a_time
from floe.pools import alone
from floe.settings import Settings
from floe.store import migrate
from floe.store.engine import Database, Transactions
from floe.store.repeated import RepeatedWrites

LEASE_AMONG_MANY = 3.0
"""Seconds for which a conductor that shows no life keeps what it has in hand, where another one may go on with it.

A conductor that is alone is followed by its next start, which waits for no lease (see `Conductor`).
"""


def make_cloud(
    around: Surroundings, *, token_keys: Sequence[bytes], url: str, repeated_writes: float = 0.0, images: bool = True
) -> Cloud:
    """Return the collaborators of whoever may see the database; of `images` who has the bytes of them."""
    settings, counters = around.settings, around.counters
    pools = make_pools(counters)
    return Cloud(
        db=_repeated(_database(_where(settings), counters), repeated_writes),
        bus=around.bus,
        blobs=store(around, pools.blobs) if images else no_store(around),
        clock=around.clock,
        new_id=random_id,
        settings=_cloud_settings(settings, url),
        token_keys=lambda: list(token_keys),
        counters=counters,
        pools=pools,
    )


def database(cloud: Cloud, settings: Settings, ground: Ground) -> Plain:
    """Return the database as a part of a process: at this release's schema, open, and written to by whoever looks."""

    async def start() -> None:
        await alone(_open, cloud.db, settings)

    async def stop() -> None:
        await ground.stop()
        await alone(cloud.db.close)

    return Plain(start=start, stop=stop, parts=ground.parts)


def image_store(cloud: Cloud, settings: Settings) -> Plain:
    """Return the image store as a part of a process: it says how an object store is; files are as the disk is."""
    if not settings.blobs:
        return Plain()
    there = ImageStore(cloud.blobs)
    return Plain(stop=there.stop, parts=there.parts)


def _open(db: Transactions, settings: Settings) -> None:
    with one_at_a_time(settings.state / "opening"):  # who makes a file, or changes how its log is kept, has to be alone
        migrate.ensure(_where(settings))
        db.open()


def _where(settings: Settings) -> migrate.Where:
    return settings.database or settings.state / "floe.db"


def make_images(cloud: Cloud, place: str) -> tuple[ImageActions, Cloud]:
    """Return who does at a place what is begun with bytes of images, and the cloud that knows of that."""
    images = ImageActions(cloud, place=place)
    return images, replace(cloud, image_actions=images.own)


def make_api(
    cloud: Cloud,
    images: ImageActions,
    *,
    passwords: Mapping[str, str],
    healthy: Callable[[], Awaitable[dict[str, str]]],
) -> Api:
    """Return the API of a process."""
    return Api(cloud, passwords=passwords, healthy=healthy, start_images=images.start, stop_images=images.stop)


def make_conductor(cloud: Cloud, settings: Settings, *, host: str, place: str, alone: bool) -> Conductor:
    """Return the conductor of a process at a place, known by the name of a host; `alone` where there is no other."""
    patience = ConductorSettings(host_wait=settings.host_wait)
    if not alone:
        patience = replace(patience, lease=LEASE_AMONG_MANY, renew=LEASE_AMONG_MANY / 8)
    return Conductor(cloud, settings=patience, host=host, place=place)


def _database(where: migrate.Where, counters: Counters) -> Transactions:
    """Return the database, whose driver is read only where it is needed. Raises Invalid where that is missing."""
    if isinstance(where, Path):
        return Database(where, counters=counters)
    if not find_spec("psycopg"):
        raise Invalid("PostgreSQL needs its driver for Python: pip install 'floe-cloud[postgresql]'.")
    from floe.store.postgres import Postgres

    return Postgres(where, counters=counters)


def _repeated(db: Transactions, repeated_writes: float) -> Transactions:
    if not repeated_writes:
        return db
    dice = Random("repeated writes")  # noqa: S311
    return RepeatedWrites(db, share=repeated_writes, dice=dice, new_id=random_id, now=MachineClock().now)


def _cloud_settings(settings: Settings, url: str) -> CloudSettings:
    return CloudSettings(
        region=settings.region,
        public_url=url,
        availability_zone=settings.availability_zone,
        dns_domain=settings.dns_domain,
        token_seconds=int(settings.token_hours * 3600),
        default_mtu=settings.mtu,
        external_range=settings.outside(),
        max_image_bytes=settings.max_image_gib * 2**30,
        login_attempts=settings.login_attempts,
        login_delay=settings.login_delay,
        trusted_proxies=settings.proxies(),
        shutdown_timeout=settings.shutdown_timeout,
        reclaim_instance_interval=settings.reclaim_instance_interval,
        shelved_offload_time=settings.shelved_offload_time,
        resize_confirm_window=settings.resize_confirm_window,
        host_bus=settings.join_bus or settings.bus,
        host_images=settings.images_from or url,
        host_bus_ca=text_of("bus_ca", settings.bus_ca) if settings.bus else "",
        image_certificates=Path(settings.image_certificates or settings.state / "image-certificates"),
        trusted_image_certificates=settings.trusted_ids(),
        history_days=settings.history_days,
        usage_days=settings.usage_days,
    )
