"""Image bytes in an object store that speaks S3, which any number of APIs may share.

A blob is several objects: its pieces, `pieces/ID.00000` and on, and at last `whole/ID`, which says how many bytes they
hold. From before the first piece until then there is `begun/ID`, and while they are removed `ended/ID`: of whatever a
process that died leaves, one of the three stands and is found. (What S3 itself has for large objects, uploads in parts,
can be listed and called off by few clients, and what is left of them costs money without being seen.)
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from floe.blobs.protocol import Stored
from floe.core.errors import Busy, Gone, Invalid, NotFound, TooLarge, Unavailable
from floe.core.object_stores import S3Address
from floe.pools import AGAIN, Pool

log = logging.getLogger(__name__)

T = TypeVar("T")

PIECE = 8 << 20
"""Bytes of an object at most: what one writer has in memory."""
_CHUNK = 1 << 20
_WRITERS = 8
_WAITING = 64
_KEPT = 1024
"""Blobs whose `whole` is remembered: it never changes."""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:\.[1-9][0-9]{0,8})?", re.IGNORECASE)
_SAID = 500
"""Characters of what the store says that go to the log."""
_VAGUE = {"Generic", "OS", "Value", "Timeout"}
"""Kinds of its errors that tell nobody more."""
_STANDS = ("begun", "whole", "ended")


class _Whole(msgspec.Struct, frozen=True):
    """What there is of a blob."""

    size: int
    piece: int


class S3Blobs:
    """Blobs in a bucket. Its keys are those of the environment (`AWS_ACCESS_KEY_ID` and the like).

    `most_writers` write at a time, each with one piece in memory. Import this only where it is used: it is 16 MiB.
    """

    def __init__(
        self, address: S3Address, pool: Pool | None = None, *, piece: int = PIECE, most_writers: int = _WRITERS
    ) -> None:
        self._address, self._piece = address, piece
        self._pool = pool or Pool("blobs", 4)
        self._writers = asyncio.Semaphore(most_writers)
        self._waiting = 0
        self._known: OrderedDict[str, _Whole] = OrderedDict()
        self._store = _opened(address)

    async def write(
        self, blob_id: str, chunks: AsyncIterator[bytes], *, max_bytes: int, announced: int = 0, caller: str = ""
    ) -> Stored:
        """See `Blobs.write`."""
        blob = _checked(blob_id)
        if announced > max_bytes:
            raise _too_large(max_bytes)
        if self._writers.locked() and self._waiting >= _WAITING:
            raise Busy(f"Too many uploads wait already; try again in {AGAIN:g} s.", seconds=AGAIN)
        self._waiting += 1
        try:
            await self._writers.acquire()
        finally:
            self._waiting -= 1
        try:
            await self._put(f"begun/{blob}", b"")
            try:
                return await self._write(blob, chunks, max_bytes, caller)
            except BaseException:
                await asyncio.shield(self._undo(blob))
                raise
        finally:
            self._writers.release()

    def read(
        self, blob_id: str, start: int = 0, length: int | None = None, *, caller: str = ""
    ) -> AsyncIterator[bytes]:
        """See `Blobs.read`; NotFound comes with the first bytes, and in between where it is deleted meanwhile."""
        return self._read(_checked(blob_id), start, length)

    def path(self, blob_id: str) -> Path | None:
        """Return None: there is no file of it."""
        _checked(blob_id)
        return None

    async def delete(self, blob_id: str) -> None:
        """See `Blobs.delete`. A writer that is at it sees at its end that what it began is ended."""
        blob = _checked(blob_id)
        self._known.pop(blob, None)
        if not any([await self._has(f"{stand}/{blob}") for stand in _STANDS]):
            return
        await self._put(f"ended/{blob}", b"")
        await self._remove([f"begun/{blob}", f"whole/{blob}"])
        await self._remove_pieces(blob)
        await self._remove([f"ended/{blob}"])

    async def find(self) -> list[str]:
        """See `Blobs.find`."""
        found = set[str]()
        for stand in _STANDS:
            names = [path.rpartition("/")[2] for path in await self._list(stand)]
            found |= {name for name in names if _ID.fullmatch(name)}
        return sorted(found)

    # -- inside ---------------------------------------------------------------------------------------

    async def _write(self, blob: str, chunks: AsyncIterator[bytes], max_bytes: int, caller: str) -> Stored:
        sha512, md5 = hashlib.sha512(), hashlib.md5(usedforsecurity=False)
        size = number = 0
        held = bytearray()

        async def flush() -> None:
            nonlocal number
            data = bytes(held[: self._piece])
            del held[: self._piece]
            for hashed in (sha512, md5):
                await self._pool.run(hashed.update, data, caller=(caller,), let_in=True)
            await self._demand_begun(blob)
            await self._put(_piece_of(blob, number), data)
            number += 1

        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            held += chunk
            while len(held) >= self._piece:
                await flush()
        if held:
            await flush()
        await self._put(f"whole/{blob}", msgspec.json.encode(_Whole(size=size, piece=self._piece)))
        await self._demand_begun(blob)
        await self._remove([f"begun/{blob}"])
        return Stored(size=size, sha512=sha512.hexdigest(), md5=md5.hexdigest())

    async def _demand_begun(self, blob: str) -> None:
        if not await self._has(f"begun/{blob}"):
            raise Gone("The data was deleted while it was being written.")

    async def _undo(self, blob: str) -> None:
        try:
            await self._remove([f"whole/{blob}"])
            await self._remove_pieces(blob)
            await self._remove([f"begun/{blob}"])
        except Unavailable as error:  # it is found by what stands still
            log.warning("what was written of blob %s is removed later: %s", blob, error.message)

    async def _read(self, blob: str, start: int, length: int | None) -> AsyncIterator[bytes]:
        whole = await self._whole(blob)
        end = whole.size if length is None else min(whole.size, start + length)
        at = start
        while at < end:
            number, within = divmod(at, whole.piece)
            until = min(whole.piece, end - number * whole.piece)
            got = await self._got(_piece_of(blob, number), within, until)
            stream = got.stream(min_chunk_size=_CHUNK)
            before = at
            while (chunk := await self._do("read", _next(stream))) is not None:
                at += len(chunk)
                yield chunk
            if at - before != until - within:
                raise Unavailable("The image store gave fewer bytes than there should be.")

    async def _whole(self, blob: str) -> _Whole:
        known = self._known.get(blob)
        if known is None:
            got = await self._got(f"whole/{blob}")
            data = await self._do("read", got.bytes_async())
            try:
                known = msgspec.json.decode(bytes(data), type=_Whole)
            except msgspec.DecodeError as error:
                raise Unavailable("The image store holds what Floe has not written.") from error
            self._known[blob] = known
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known

    async def _got(self, key: str, start: int = 0, end: int = 0) -> Any:
        options = {"range": (start, end)} if end else {}
        try:
            return await self._do("read", self._store.get_async(key, options=options))
        except NotFound:
            blob = key.partition("/")[2]
            self._known.pop(blob.rpartition(".")[0] if key.startswith("pieces/") else blob, None)
            raise NotFound("image data", blob) from None

    async def _has(self, key: str) -> bool:
        try:
            await self._do("look", self._store.head_async(key))
        except NotFound:
            return False
        return True

    async def _put(self, key: str, data: bytes) -> None:
        await self._do("write", self._store.put_async(key, data, use_multipart=False))

    async def _remove(self, keys: list[str]) -> None:
        for start in range(0, len(keys), 1000):
            try:
                await self._do("remove", self._store.delete_async(keys[start : start + 1000]))
            except NotFound:  # some stores say so, others do not
                if len(keys) > 1:
                    for key in keys[start : start + 1000]:
                        await self._remove([key])

    async def _remove_pieces(self, blob: str) -> None:
        mark = f"{blob}."
        keys = await self._list("pieces", after=f"pieces/{mark}")
        await self._remove([key for key in keys if key.rpartition("/")[2].rpartition(".")[0] == blob])

    async def _list(self, under: str, *, after: str = "") -> list[str]:
        """Return the keys below a folder, those of one blob's pieces where `after` says which."""
        found = list[str]()
        listing = self._store.list(under, offset=after or None, chunk_size=1000)
        while (objects := await self._do("list", _next(listing))) is not None:
            keys = [each["path"] for each in objects]
            if after:
                of_it = [key for key in keys if key.startswith(after)]
                found += of_it
                if len(of_it) < len(keys):
                    break  # keys come in order
            else:
                found += keys
        return found

    async def _do(self, deed: str, call: Awaitable[T]) -> T:
        """Return what the store answers. Raises NotFound, Unavailable."""
        from obstore.exceptions import BaseError

        try:
            return await call
        except FileNotFoundError as error:
            raise NotFound("object") from error
        except (BaseError, OSError, ValueError) as error:
            said = " ".join(str(error).partition("\n\nDebug source")[0].split())[:_SAID]
            log.error("the object store of bucket %s could not %s: %s", self._address.bucket, deed, said)
            kind = type(error).__name__.removesuffix("Error")
            why = "it does not answer as it should" if kind in _VAGUE else kind
            raise Unavailable(f"The image store could not {deed}: {why}; its operator's log says more.") from None


async def _next(stream: Any) -> Any:
    """Return the next of a stream of the store's, None at its end."""
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return None


def _opened(address: S3Address) -> Any:
    try:
        from obstore.store import S3Store
    except ImportError:
        raise Invalid(
            "blobs names an object store, and obstore cannot be found: pip install 'floe-cloud[s3]'."
        ) from None
    more: dict[str, Any] = {"endpoint": address.endpoint} if address.endpoint else {}
    return S3Store(
        address.bucket,
        prefix=address.prefix or None,
        region=address.region,
        virtual_hosted_style_request=not address.path_style,
        client_options={
            "allow_http": address.plain,
            "connect_timeout": timedelta(seconds=5),
            "read_timeout": timedelta(seconds=30),
            "timeout": timedelta(seconds=180),
        },
        retry_config={
            "max_retries": 4,
            "retry_timeout": timedelta(seconds=30),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
        **more,
    )


def _checked(blob_id: str) -> str:
    if not _ID.fullmatch(blob_id):
        raise Invalid(f"A blob's id is a UUID, or one with a number after a dot (it is {blob_id[:80]!r}).")
    return blob_id.lower()


def _piece_of(blob: str, number: int) -> str:
    return f"pieces/{blob}.{number:05}"


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"The data is larger than {most} bytes, which is what this cloud takes at most.")
