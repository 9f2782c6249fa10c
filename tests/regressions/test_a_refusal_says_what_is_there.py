"""An action or a resource that is not there is refused with what is: no microversion brings what is not built."""

from __future__ import annotations

from typing import Any


async def _asked(user: Any, method: str, path: str, version: str, body: Any = None) -> tuple[int, str]:
    headers = {"OpenStack-API-Version": f"compute {version}"}
    reply = await user.http.request(method, f"/compute/v2.1{path}", json=body, headers=headers)
    (fault,) = reply.json().values()
    return reply.status_code, fault["message"]


async def test_an_action_or_resource_that_is_not_there_is_told_from_one_of_another_microversion(start: Any) -> None:
    user = await start()
    server = f"/servers/{await user.built()}"

    status, message = await _asked(user, "POST", f"{server}/action", "2.96", {"os-shrink": None})
    assert status == 400
    assert "no action 'os-shrink' here; there are " in message
    assert "lock" in message
    assert "microversion" not in message

    status, message = await _asked(user, "GET", f"{server}/topology", "2.77")
    assert (status, message) == (404, "This resource is there at microversions from 2.78 on; asked for was 2.77.")
    status, message = await _asked(user, "GET", "/os-cells", "2.96")
    assert status == 404
    assert "microversion" not in message
