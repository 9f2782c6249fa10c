"""Upload an image: write the bytes that come with the request, then make them the image's data.

It is done by the process that has the request. No client can go on with one that was cut off: whoever finds it takes
away its bytes, gives back what they took, and queues the image again.
"""

from __future__ import annotations

import msgspec

from floe.cloud import image_uploads
from floe.cloud.cloud import Cloud
from floe.cloud.image_uploads import Incoming, Written
from floe.conductor.failures import Failure
from floe.conductor.flow import Flow, Outcome, Work
from floe.conductor.saga import OnStore, Saga, Write
from floe.conductor.stops import Interrupted
from floe.core.actions import UPLOAD_IMAGE
from floe.core.errors import Gone, Unavailable
from floe.core.given import BlobGiven
from floe.store.engine import Connection


class UploadImage(msgspec.Struct, frozen=True):
    """The workflow `upload-image`, with what it works on."""

    cloud: Cloud

    def saga(self) -> Saga:
        """Return its plan."""
        return Saga(
            begins=UPLOAD_IMAGE,
            steps=(
                OnStore(name="bytes", do=self.take, returns=Written, undo=self.remove),
                Write(name="active", do=self.activate, last=True),
            ),
            fails=self.give_back,
        )

    async def take(self, flow: Flow) -> Written:
        """Write what comes. Raises Gone where nobody sends it any more."""
        incoming = flow.known.get(Incoming)
        if incoming is None:
            raise Gone("The process that took the data stopped, and the upload with it; upload it again.")

        async def reserve(needed: int, wanted: int) -> int:
            return await flow.alongside(lambda conn: image_uploads.reserve(conn, incoming.blob, needed, wanted))

        return await flow.while_leased(image_uploads.write(self.cloud, incoming, reserve))

    async def remove(self, flow: Flow) -> None:
        """Take away whatever was written."""
        try:
            await self.cloud.blobs.delete(flow.given(BlobGiven).blob)
        except Unavailable as error:
            raise Interrupted(error.message) from error

    def activate(self, flow: Flow) -> Work:
        """Make what was written the image's data."""
        blob_id, image_id, written = flow.given(BlobGiven).blob, flow.action.subject_id, flow.result(Written)
        now = self.cloud.clock.now()

        def work(conn: Connection) -> Outcome:
            image_uploads.finish(conn, blob_id, image_id, written, now)
            return Outcome(remark=f"{written.size} bytes")

        return work

    def give_back(self, flow: Flow, _failure: Failure) -> Work:
        """Queue the image again, and give back what the upload took."""
        blob_id, now = flow.given(BlobGiven).blob, self.cloud.clock.now()
        return lambda conn: image_uploads.give_back(conn, blob_id, now)
