"""The API role: all surfaces, and what a cloud needs before anybody can use them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from floe.api.app import App
from floe.cloud import bootstrap, first_networks, flavors, sealing
from floe.cloud.cloud import Cloud


class Api:
    """The ASGI application `app`, and its start. `passwords` are those of the first users, at the first start.

    `healthy` says how all parts of the process are; who does actions of images is started and stopped with it.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        passwords: Mapping[str, str],
        healthy: Callable[[], Awaitable[dict[str, str]]],
        start_images: Callable[[], Awaitable[None]],
        stop_images: Callable[[], Awaitable[None]],
    ) -> None:
        self._cloud, self._passwords = cloud, passwords
        self._start_images, self._stop_images = start_images, stop_images
        self.app = App(cloud, healthy=healthy)

    async def start(self) -> None:
        """Make what a cloud needs, and take back what requests that a death cut off have left."""
        await self._first_start()
        await sealing.seal_leftovers(self._cloud)
        await self._start_images()

    async def stop(self) -> None:
        """Look at nothing any more; requests are ended by whoever serves them."""
        await self._stop_images()

    async def parts(self) -> dict[str, str]:
        """Say nothing: what requests need are the other parts."""
        return {}

    async def _first_start(self) -> None:
        """Make what a cloud needs before anybody can use it; nothing of it is made twice."""
        order = iter((self._passwords["admin"], self._passwords["demo"]))
        made = await bootstrap.bootstrap(self._cloud, lambda: next(order))
        if made.admin_password is not None:
            await flavors.bootstrap(self._cloud)
        if made.admin_password is not None and made.demo_project_id is not None:
            await first_networks.bootstrap(self._cloud, made.demo_project_id, made.admin_project_id)
