"""Signed images in the cache of a host that dies, or whose files are altered: none counts as verified for that."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lifelines import Lifeline
from msgspec.structs import replace
from signers import Signer, signer

from floe.agent import image_proofs
from floe.agent.image_eviction import ImageEviction, Keeping
from floe.agent.images import ImageCache
from floe.agent.threads import in_place, in_thread
from floe.core.clock import FixedClock
from floe.core.errors import HostFailure
from floe.core.guests import GuestImage
from floe.core.image_signatures import ImageProof, signature_of

DATA = bytes(range(256)) * 64
ANN = signer()
FORGED = "Signature verification for the image failed"


class Source:
    """Images in memory; it counts how often one is read."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, _blob: str) -> AsyncIterator[bytes]:
        self.reads += 1
        for start in range(0, len(DATA), 5000):
            yield DATA[start : start + 5000]


def image(by: Signer = ANN, signed: bytes = DATA, method: str = "SHA-256") -> GuestImage:
    properties = by.properties(signed, method)
    signature = signature_of("img", properties)
    assert signature is not None
    return GuestImage(
        image_id="img",
        checksum="",
        sha512=hashlib.sha512(DATA).hexdigest(),
        size=len(DATA),
        disk_format="raw",
        virtual_size=len(DATA),
        properties=properties,
        proof=ImageProof(signature=signature, public_key=ANN.public_key()),
    )


def plain() -> GuestImage:
    """Return the same image while it was not said to be signed."""
    signed = image()
    return replace(signed, checksum=signed.sha512, sha512="", properties={}, proof=None)


def cache(folder: Path, source: Source, *, converts: bool = False, offload: Any = in_place) -> ImageCache:
    async def adopt(path: Path, disk_format: str) -> str:
        if converts:
            path.write_bytes(b"QFI" + DATA)
        return "qcow2" if converts else disk_format

    eviction = ImageEviction(folder / "images", list, FixedClock(), Keeping())
    return ImageCache(folder / "images", source, adopt, clock=FixedClock(), eviction=eviction, offload=offload)


FORGERIES = (image(signed=DATA[1:]), image(signer()), image(signer(), method="SHA-512"))
SIGNED = (image(), image(method="SHA-512"))


async def believes_what_was_signed_alone(images: ImageCache, *, converts: bool) -> None:
    for forged in FORGERIES:
        with pytest.raises(HostFailure, match=FORGED):
            await images.get(forged)
    for signed in SIGNED:
        assert (await images.get(signed)).path.read_bytes() == (b"QFI" + DATA if converts else DATA)


@pytest.mark.parametrize("converts", [False, True])
async def test_a_death_between_fetch_and_verification_leaves_nothing_that_counts_as_verified(
    tmp_path: Path, converts: bool
) -> None:
    for dies_at in range(1, 40):
        folder, life, over = tmp_path / str(dies_at), Lifeline(dies_at), asyncio.Event()

        async def point(life: Lifeline = life, over: asyncio.Event = over) -> None:
            life.points += 1
            if life.points == life.dies_at:
                life.dead.set()
            if life.dead.is_set():
                await over.wait()
                raise asyncio.CancelledError

        async def offload(call: Any, *args: Any, point: Any = point, **more: Any) -> Any:
            await point()
            result = call(*args, **more)
            await point()
            return result

        async def live(images: ImageCache) -> None:
            await images.get(plain())
            await images.get(SIGNED[0])
            await images.get(FORGERIES[0])

        doomed = asyncio.ensure_future(live(cache(folder, Source(), converts=converts, offload=offload)))
        dead = asyncio.ensure_future(life.dead.wait())
        await asyncio.wait({doomed, dead}, return_when=asyncio.FIRST_COMPLETED)
        left = folder.with_suffix(".left")
        shutil.copytree(folder, left)  # before it sees that it was ended, as no dead process does
        over.set()
        dead.cancel()
        outcome, _ = await asyncio.gather(doomed, dead, return_exceptions=True)
        await believes_what_was_signed_alone(cache(left, Source(), converts=converts), converts=converts)
        if not life.dead.is_set():
            assert isinstance(outcome, HostFailure)
            return
    raise AssertionError("a life without end")


async def test_what_is_there_is_read_once_for_each_hash_method_and_fetched_again_only_where_it_was_converted(
    tmp_path: Path,
) -> None:
    for converts, reads in ((False, 1), (True, 3)):
        source = Source()
        images = cache(tmp_path / str(converts), source, converts=converts)
        await images.get(plain())
        for method in ("SHA-256", "SHA-224", "SHA-512") * 2:
            await images.get(image(method=method))
        assert source.reads == reads
        await cache(tmp_path / str(converts), source, converts=converts).get(image())
        assert source.reads == reads, "it is known after a restart, too"


async def test_what_was_never_signed_by_sha_512_is_not_even_fetched(tmp_path: Path) -> None:
    source = Source()
    with pytest.raises(HostFailure, match=FORGED):
        await cache(tmp_path, source).get(image(signed=b"", method="SHA-512"))
    assert source.reads == 0


async def test_a_file_that_was_altered_after_it_was_verified_is_fetched_and_verified_again(tmp_path: Path) -> None:
    source = Source()
    images = cache(tmp_path, source)
    path = (await images.get(image())).path
    path.chmod(0o644)
    path.write_bytes(DATA[:-1] + b"!")
    assert (await images.get(image())).path.read_bytes() == DATA
    assert source.reads == 2


async def test_bytes_that_change_while_they_are_verified_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(HostFailure, match="changed on the host"):
        await image_proofs.read(path, image_proofs.believed(image()), {}, in_place)


async def test_a_signed_image_that_nothing_came_with_to_check_it_by_is_refused(tmp_path: Path) -> None:
    source = Source()
    signed = image()
    for told in (replace(signed, proof=None), replace(signed, proof=None, checksum=signed.sha512)):
        with pytest.raises(HostFailure, match="nothing says by which certificate"):
            await cache(tmp_path, source).get(told)
    assert source.reads == 0


async def test_a_verification_that_is_called_off_ends_and_is_waited_for(tmp_path: Path) -> None:
    path, begun, going_on = tmp_path / "image", threading.Event(), threading.Event()
    path.write_bytes(DATA)
    ended = list[str]()

    stops = list[threading.Event]()

    async def offload(call: Any, path: Path, method: str, stop: threading.Event) -> Any:
        stops.append(stop)

        def work() -> Any:
            begun.set()
            going_on.wait(20)
            result = call(path, method, stop)
            ended.append(result[0])
            return result

        return await in_thread(work)

    task = asyncio.ensure_future(image_proofs.read(path, image_proofs.believed(image()), {}, offload))
    assert await in_thread(begun.wait, 20)
    task.cancel()
    while not stops[0].is_set():
        await asyncio.sleep(0)
    going_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [hashlib.sha512().hexdigest()], "it read nothing more"
