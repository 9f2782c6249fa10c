"""What hosts check signed images by: a key of a certificate that was found good, sent with the command.

Certificates are read anew for each command: one that an administrator took away is trusted no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import structs

from floe.cloud import image_certificates
from floe.cloud.cloud import Cloud
from floe.core.guests import GuestImage, GuestSpec
from floe.core.image_signatures import ImageProof, ImageSignature, demand_signed, is_signed, signature_of

Role = Literal["image", "kernel", "ramdisk", "rescue"]
"""Of an image that a guest is made of."""


async def proven(cloud: Cloud, guest: GuestSpec, trusted: Sequence[str] | None, *roles: Role) -> GuestSpec:
    """Return a guest with what its host checks by the images of some roles, which it fetches.

    Raises Invalid where one cannot be checked, or is not signed though certificates are `trusted`; Unavailable.
    """
    changed = {}
    for role in roles:
        image: GuestImage | None = getattr(guest, role)
        if image is not None and (trusted or is_signed(image.properties)):
            changed[role] = await _proven(cloud, image, trusted, guest.metadata.project_id)
    return structs.replace(guest, **changed) if changed else guest


async def _proven(cloud: Cloud, image: GuestImage, trusted: Sequence[str] | None, project_id: str) -> GuestImage:
    demand_signed(image.image_id, image.properties, trusted)
    signature = signature_of(image.image_id, image.properties)
    if signature is None:
        return image
    proof = await proof_of(cloud, signature, trusted, project_id)
    return structs.replace(image, checksum="", sha512=image.sha512 or image.checksum, proof=proof)


async def proof_of(
    cloud: Cloud, signature: ImageSignature, trusted: Sequence[str] | None, project_id: str
) -> ImageProof:
    """Return what bytes are checked by. Raises as `proven` does."""
    folder, now = cloud.settings.image_certificates, cloud.clock.now()
    key = await cloud.pools.blobs.run(
        image_certificates.public_key, folder, signature, trusted, now, caller=(project_id,)
    )
    return ImageProof(signature=signature, public_key=key)
