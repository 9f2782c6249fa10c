"""An image's data: streamed in, and out whole or in part."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from floe.api.image.faults import image_envelope
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.kit.values import is_digits
from floe.cloud import image_data
from floe.core.errors import TooLarge, UnsupportedMedia

MEDIA_TYPE = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_LOOK_EVERY = 8


async def upload(call: Call) -> Reply:
    """PUT /v2/images/{image_id}/file"""
    media = (call.header("content-type") or "").partition(";")[0].strip().lower()
    if media != MEDIA_TYPE:
        raise UnsupportedMedia(f"Image data is sent with Content-Type {MEDIA_TYPE} (it is {media!r}).")
    length, limit = call.header("content-length") or "", call.cloud.settings.max_image_bytes
    announced = int(length[:20]) if is_digits(length) else 0
    if announced > limit:
        raise TooLarge(f"The data is {announced} bytes large; this cloud takes at most {limit}.")
    data = call.request.stream()
    await image_data.upload(call.cloud, call.context, call.params["image_id"], data, announced=announced)
    return Reply(204)


async def download(call: Call) -> Reply:
    """GET /v2/images/{image_id}/file"""
    image = await image_data.downloadable(call.cloud, call.context, call.params["image_id"])
    if image is None:
        return Reply(204)
    size = image.size or 0
    start, end = 0, size
    headers = {"accept-ranges": "bytes"}
    status = 200
    asked = call.header("range")
    if asked is not None:
        part = _part(asked, size)
        if part is None:
            text = f"Range {asked[:80]!r} cannot be served; ask for one range within its {size} bytes."
            body = image_envelope(416, "invalid", text, call.context.request_id)
            return Reply(416, body, {"content-range": f"bytes */{size}"})
        start, end = part
        status = 206
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    elif image.checksum:
        headers["content-md5"] = image.checksum
    headers["content-length"] = str(end - start)
    data = image_data.content(call.cloud, image, start, end - start, project_id=call.context.project_id)
    return Reply(status, None, headers, MEDIA_TYPE, _while_listening(call, data))


async def _while_listening(call: Call, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass data on until the client has gone: sending to nobody raises no error, it only costs."""
    count = 0
    async for chunk in data:
        yield chunk
        count += 1
        if count % _LOOK_EVERY == 0 and await call.request.is_disconnected():
            return


def _part(text: str, size: int) -> tuple[int, int] | None:
    """Return (start, end) of one range of bytes (RFC 9110, 14.1.2), None if it cannot be satisfied."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        end = min(int(found[2]) + 1, size) if found[2] else size
    return (start, end) if start < end else None


PATH = "/v2/images/{image_id}/file"
ROUTES: tuple[Route, ...] = (
    Route("PUT", PATH, upload, "upload_image"),
    Route("GET", PATH, download, "download_image"),
)
