"""What was done with the bytes of an image is seen as what was done with a server is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from floe.api.app import App
from floe.api.image.surface import SURFACE as IMAGE
from floe.api.operator.surface import SURFACE as OPERATOR
from floe.cloud.cloud import Cloud
from floe.core.context import Context

BYTES = {"content-type": "application/octet-stream"}


@pytest.fixture
async def ask(image_cloud: Any) -> AsyncIterator[Callable[..., Any]]:
    """Give a maker of requests to both surfaces, by people of several projects."""
    roles = frozenset({"member", "reader"})
    people = {
        "ann": Context(request_id="", user_id="ann", project_id="a" * 32, roles=roles),
        "bob": Context(request_id="", user_id="bob", project_id="b" * 32, roles=roles),
        "root": Context(request_id="", user_id="root", project_id="0" * 32, roles=roles | {"admin"}),
    }

    async def by_name(_cloud: Cloud, token: str, request_id: str) -> Context:
        return replace(people[token], request_id=request_id)

    app = App(image_cloud, surfaces=[IMAGE, OPERATOR], authenticate=by_name)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud:8774") as client:

        async def send(name: str, method: str, path: str, **how: Any) -> httpx.Response:
            image_cloud.clock.advance(1)  # so that one is later than the other
            headers = {"x-auth-token": name, **how.pop("headers", {})}
            return await client.request(method, path, headers=headers, **how)

        yield send


async def test_uploads_and_deletes_are_told_with_their_steps_also_when_the_image_is_gone(ask: Any) -> None:
    new = {"name": "i", "disk_format": "qcow2", "container_format": "bare"}
    made = (await ask("ann", "POST", "/image/v2/images", json=new)).json()["id"]
    path, trace = f"/image/v2/images/{made}", f"/floe/v1/images/{made}/trace"
    assert (await ask("ann", "GET", trace)).json() == {"actions": []}
    refused = await ask("ann", "PUT", f"{path}/file", content=b"no qcow2", headers=BYTES)
    assert refused.status_code == 415
    assert (await ask("ann", "PATCH", path, json=_RAW, headers=_PATCH)).status_code == 200
    assert (await ask("ann", "PUT", f"{path}/file", content=b"bytes", headers=BYTES)).status_code == 204
    assert (await ask("ann", "DELETE", path)).status_code == 204
    (latest,) = (await ask("ann", "GET", trace)).json()["actions"]
    assert latest["action"] == "delete-image"
    told = (await ask("ann", "GET", f"{trace}?limit=9")).json()["actions"]
    assert [each["action"] for each in told] == ["upload-image", "upload-image", "delete-image"]
    assert "qcow2" in told[0]["message"]
    assert [[(event["event"], event["result"], event["details"]) for event in each["events"]] for each in told] == [
        [("bytes", "Error", told[0]["message"]), ("failure", "Error", told[0]["message"])],
        [("bytes", "Success", None), ("active", "Success", "5 bytes")],
        [("bytes", "Success", None), ("gone", "Success", None)],
    ]
    assert (await ask("root", "GET", f"{trace}?limit=9")).json()["actions"][0]["request_id"] == told[0]["request_id"]
    assert (await ask("bob", "GET", trace)).status_code == 404
    assert (await ask("ann", "GET", f"{trace}?limit=0")).status_code == 400


_PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
_RAW = [{"op": "replace", "path": "/disk_format", "value": "raw"}]
