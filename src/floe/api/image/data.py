"""An image's data: streamed in, and out whole or in part."""

from __future__ import annotations

from floe.api.image.faults import image_envelope
from floe.api.kit.call import Call, Reply
from floe.api.kit.ranges import one_range, while_listening
from floe.api.kit.routing import Route
from floe.api.kit.values import is_digits
from floe.cloud import image_data
from floe.core.errors import TooLarge, UnsupportedMedia

MEDIA_TYPE = "application/octet-stream"


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
        part = one_range(asked, size)
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
    return Reply(status, None, headers, MEDIA_TYPE, while_listening(call, data))


PATH = "/v2/images/{image_id}/file"
ROUTES: tuple[Route, ...] = (
    Route("PUT", PATH, upload, "upload_image"),
    Route("GET", PATH, download, "download_image"),
)
