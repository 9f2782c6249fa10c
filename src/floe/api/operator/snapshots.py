"""/v1/snapshots/{action}: the bytes of an image of a server, from the host that makes it and shows a ticket for that.

No token opens it, an administrator's neither: tenants and operators have the image API.
"""

from __future__ import annotations

from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.policy import public
from floe.api.kit.values import is_digits
from floe.cloud import snapshots
from floe.core.errors import Invalid, TooLarge


async def write(call: Call) -> Reply:
    """PUT: all bytes, whose number is said before."""
    length, limit = call.header("content-length") or "", call.cloud.settings.max_image_bytes
    if not is_digits(length):
        raise Invalid("The number of bytes must be said: Content-Length.")
    announced = int(length[:20])
    if announced > limit:
        raise TooLarge(f"The data is {announced} bytes large; this cloud takes at most {limit}.")
    shown, data = call.header("authorization"), call.request.stream()
    await snapshots.take(call.cloud, shown, call.params["action"], data, announced=announced)
    return Reply(204)


ROUTES = (Route("PUT", "/v1/snapshots/{action}", write, "floe:snapshots:write"),)
POLICIES = {"floe:snapshots:write": public}
