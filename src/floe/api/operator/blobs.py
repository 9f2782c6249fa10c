"""/v1/blobs/{blob}: the bytes of an image, for a host that shows a ticket which came with a command (see ADR 42).

No token opens it, an administrator's neither: tenants and operators have the image API.
"""

from __future__ import annotations

from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.policy import public
from floe.api.kit.ranges import one_range, while_listening
from floe.api.operator.faults import operator_envelope
from floe.cloud import host_images

MEDIA_TYPE = "application/octet-stream"


async def read(call: Call) -> Reply:
    """GET, and HEAD: whole, or one range of it; with `If-Range`, whole unless it is still the same."""
    asked = call.header("range")
    image = await host_images.admitted(
        call.cloud,
        call.header("authorization"),
        call.params["blob"],
        method=call.request.method,
        part=asked or "",
    )
    size, tag = image.size or 0, f'"{image.sha512}"'
    start, end, status = 0, size, 200
    headers = {"accept-ranges": "bytes", "etag": tag, "cache-control": "no-store"}
    if asked is not None and call.header("if-range") in {None, tag}:
        part = one_range(asked, size)
        if part is None:
            text = f"Range {asked[:80]!r} cannot be served; ask for one range within its {size} bytes."
            body = operator_envelope(416, "invalid", text, call.context.request_id)
            return Reply(416, body, {"content-range": f"bytes */{size}"})
        start, end = part
        status = 206
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    headers["content-length"] = str(end - start)
    data = host_images.content(call.cloud, image, start, end - start)
    return Reply(status, None, headers, MEDIA_TYPE, while_listening(call, data))


ROUTES = (Route("GET", "/v1/blobs/{blob}", read, "floe:blobs:read"),)
POLICIES = {"floe:blobs:read": public}
