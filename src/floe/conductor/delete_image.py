"""Delete an image: its row is gone with the request; its bytes are removed, however often that has to be tried."""

from __future__ import annotations

import msgspec

from floe.cloud.cloud import Cloud
from floe.conductor.failures import Failure
from floe.conductor.flow import Flow, Work
from floe.conductor.saga import OnStore, Saga, Write
from floe.conductor.stops import Interrupted
from floe.core.actions import DELETE_IMAGE
from floe.core.errors import Unavailable
from floe.core.given import BlobGiven
from floe.store import image_blobs


class DeleteImage(msgspec.Struct, frozen=True):
    """The workflow `delete-image`, with what it works on."""

    cloud: Cloud

    def saga(self) -> Saga:
        """Return its plan."""
        return Saga(
            begins=DELETE_IMAGE,
            steps=(
                OnStore(name="bytes", do=self.remove),
                Write(name="gone", do=self.forget, last=True),
            ),
            fails=self.leave,
        )

    async def remove(self, flow: Flow) -> None:
        """Remove the bytes."""
        try:
            await self.cloud.blobs.delete(flow.given(BlobGiven).blob)
        except Unavailable as error:
            raise Interrupted(error.message) from error

    def forget(self, flow: Flow) -> Work:
        """Forget that there were any."""
        blob_id = flow.given(BlobGiven).blob
        return lambda conn: image_blobs.delete(conn, blob_id)

    def leave(self, _flow: Flow, _failure: Failure) -> Work:
        """Leave what could not be removed to another action: the row of its bytes stays, and gets one."""
        return lambda _conn: None
