"""Signed images: whose bytes are taken, which servers are made of them, what is left where they are not believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from signers import NOW, root, signer, usage
from sites import SERVERS, Site, furnished, refused

from floe.testing import EmbeddedCloud

HIGHEST, FIRST = "2.96", "2.63"
CONTENT = b"\1" * 8192
NOBODY = "99999999-9999-4999-8999-999999999999"
RSA = rsa.generate_private_key(65537, 2048)


@pytest.fixture(params=[False, True], ids=["files", "http"])
async def site(
    first_start: Path, started_database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Site]:
    """Give a cloud with an image and a network, whose two hosts see the image store, or fetch from the API."""
    state, over_http = tmp_path / "state", request.param
    async with (
        EmbeddedCloud(
            state, hosts=2, template=first_start, database=started_database, images_over_http=over_http
        ) as cloud,
        furnished(cloud) as made,
    ):
        yield made


@pytest.fixture
async def one(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud with an image and a network."""
    async with furnished(embedded) as made:
        yield made


def folder(site: Site) -> Path:
    """Return where an administrator keeps certificates."""
    return site.cloud.folder / "image-certificates"


async def created(site: Site, **more: Any) -> str:
    fields = {"name": "signed", "disk_format": "raw", "container_format": "bare", **more}
    made = await site.ask("POST", "/image/v2/images", fields)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def uploaded(site: Site, ident: str, content: bytes = CONTENT) -> httpx.Response:
    kind = {"content-type": "application/octet-stream", "x-auth-token": site.tokens["demo"]}
    return await site.http.put(f"/image/v2/images/{ident}/file", content=content, headers=kind)


async def image(site: Site, content: bytes = CONTENT, **more: Any) -> str:
    ident = await created(site, **more)
    assert (await uploaded(site, ident, content)).status_code == 204
    return ident


async def later(site: Site, ident: str, **more: str) -> None:
    """Give an image properties that it had not when its data came."""
    shown = (await site.ask("GET", f"/image/v2/images/{ident}")).json()
    kind = {"content-type": "application/openstack-images-v2.1-json-patch", "x-auth-token": site.tokens["demo"]}
    patch = [
        {"op": "replace" if name in shown else "add", "path": f"/{name}", "value": value}
        for name, value in more.items()
    ]
    reply = await site.http.patch(f"/image/v2/images/{ident}", json=patch, headers=kind)
    assert reply.status_code == 200, reply.text


async def asked(site: Site, image_id: str, trusted: Any = (), **more: Any) -> httpx.Response:
    """Ask for a server, and wait for what becomes of it; () names no certificates."""
    body: dict[str, Any] = {"name": "s", "imageRef": image_id, "flavorRef": "0", "networks": "none", **more}
    if trusted != ():
        body["trusted_image_certificates"] = trusted
    reply: httpx.Response = await site.ask("POST", SERVERS, {"server": body}, version=HIGHEST)
    await site.cloud.settled()
    return reply


async def served(site: Site, image_id: str, trusted: Any = (), **more: Any) -> str:
    reply = await asked(site, image_id, trusted, **more)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["server"]["id"])


async def shown(site: Site, server: str, version: str = HIGHEST) -> dict[str, Any]:
    found: dict[str, Any] = (await site.ask("GET", f"{SERVERS}/{server}", version=version)).json()["server"]
    return found


async def runs(site: Site, server: str) -> bool:
    return (await shown(site, server))["status"] == "ACTIVE"


async def failed(site: Site, server: str, text: str) -> None:
    """See that a server is in ERROR for a reason, that one host alone was asked at most, and nothing is left there."""
    found = await shown(site, server)
    assert found["status"] == "ERROR"
    assert text in found["fault"]["message"], found["fault"]
    assert not any((agent._guests_dir / server).exists() for agent in site.cloud.node.agents)
    request = (await site.ask("GET", f"{SERVERS}/{server}/os-instance-actions", version=HIGHEST)).json()
    first = request["instanceActions"][-1]["request_id"]
    events = (await site.ask("GET", f"{SERVERS}/{server}/os-instance-actions/{first}", version=HIGHEST)).json()
    names = [each["event"] for each in events["instanceAction"]["events"]]
    assert sum("schedule" in name for name in names) == 1, names


async def test_a_server_runs_what_was_signed_under_a_certificate_that_it_trusts(site: Site) -> None:
    authority = root().keep(folder(site))
    ann = signer(authority).keep(folder(site))
    ident = await image(site, **ann.properties(CONTENT))
    server = await served(site, ident, [authority.ident])
    assert await runs(site, server)
    assert (await shown(site, server))["trusted_image_certificates"] == [authority.ident]
    listed = (await site.ask("GET", f"{SERVERS}/detail", version=FIRST)).json()["servers"]
    assert [each["trusted_image_certificates"] for each in listed] == [[authority.ident]]
    assert "trusted_image_certificates" not in await shown(site, server, "2.62")
    plain = await served(site, ident)
    assert await runs(site, plain)
    assert (await shown(site, plain))["trusted_image_certificates"] is None


@pytest.mark.parametrize("method", ["SHA-224", "SHA-256", "SHA-384", "SHA-512"])
async def test_any_hash_method_is_read_of_the_bytes_that_were_sent(one: Site, method: str) -> None:
    ann = signer(key=RSA).keep(folder(one))
    content = CONTENT * 400  # more than a thread is given at once
    ident = await image(one, content, **ann.properties(content, method))
    assert await runs(one, await served(one, ident))
    other = await created(one, **ann.properties(content, method))
    refused_ = await uploaded(one, other, content + b"\0")
    assert refused_.status_code == 400
    assert "Signature verification failed" in refused_.text
    assert (await one.ask("GET", f"/image/v2/images/{other}")).json()["status"] == "queued"
    assert (await uploaded(one, other, content)).status_code == 204


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"last": NOW - timedelta(hours=1)}, "outside its valid date range"),
        ({"first": NOW + timedelta(hours=1)}, "outside its valid date range"),
        ({"use": usage("key_agreement")}, "not for signatures"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "1024 bits"),
        (None, "Certificate not found with ID"),
    ],
)
async def test_data_is_not_taken_that_no_good_certificate_stands_for(one: Site, more: Any, text: str) -> None:
    ann = signer(**(more or {}))
    if more is not None:
        ann.keep(folder(one))
    reply = await uploaded(one, await created(one, **ann.properties(CONTENT)))
    assert (reply.status_code, text in reply.text) == (400, True), reply.text
    ident = await image(one)  # and where the data came before it said so
    await later(one, ident, **ann.properties(CONTENT))
    await failed(one, await served(one, ident), text)


async def test_altered_and_foreign_images_make_no_server(one: Site) -> None:
    authority, other = root().keep(folder(one)), root().keep(folder(one))
    ann, eve = signer(authority).keep(folder(one)), signer(other).keep(folder(one))
    for method in ("SHA-256", "SHA-512"):
        altered = await image(one, CONTENT + method.encode())
        await later(one, altered, **ann.properties(CONTENT, method))
        await failed(one, await served(one, altered), "Signature verification for the image failed")
        await failed(one, await served(one, altered, [authority.ident]), "Signature verification for the image failed")
    foreign = await image(one, **eve.properties(CONTENT))
    await failed(one, await served(one, foreign, [authority.ident]), "Could not locate the signing certificate")
    await failed(one, await served(one, foreign, [NOBODY]), "Could not locate the signing certificate")
    assert await runs(one, await served(one, foreign, [authority.ident, other.ident.upper()]))
    # One that says it is Ann's, whose certificate is good, is Eve's all the same.
    claimed = await image(one)
    await later(one, claimed, **(eve.properties(CONTENT) | {"img_signature_certificate_uuid": ann.ident}))
    await failed(one, await served(one, claimed, [authority.ident]), "Signature verification for the image failed")


async def test_what_is_in_the_cache_is_believed_by_each_server_for_itself(one: Site) -> None:
    authority = root().keep(folder(one))
    ann = signer(authority).keep(folder(one))
    ident = await image(one)
    assert await runs(one, await served(one, ident)), "cached, and verified by nobody"
    refused(await asked(one, ident, [authority.ident]), 400, "not signed")
    for method in ("SHA-256", "SHA-512", "SHA-384"):
        await later(one, ident, **ann.properties(b"other bytes", method))
        await failed(one, await served(one, ident), "Signature verification for the image failed")
        await later(one, ident, **ann.properties(CONTENT, method))
        assert await runs(one, await served(one, ident, [authority.ident]))
    (folder(one) / f"{ann.ident}.pem").unlink()  # the administrator trusts Ann no more
    await failed(one, await served(one, ident), "Certificate not found")


@pytest.mark.parametrize(
    ("trusted", "text"),
    [
        (["../../floe"], "trusted_image_certificates"),
        ([NOBODY, NOBODY], "twice"),
        ([], "trusted_image_certificates"),
        ([""], "trusted_image_certificates"),
        ([f"99999999-9999-4999-8999-{n:012}" for n in range(51)], "trusted_image_certificates"),
        (NOBODY, "trusted_image_certificates"),
        ([NOBODY], "is not signed"),
    ],
)
async def test_a_create_that_can_not_be_is_refused(one: Site, trusted: Any, text: str) -> None:
    refused(await asked(one, one.ids["image"], trusted), 400, text)
    assert await runs(one, await served(one, one.ids["image"], None))


async def test_a_signature_that_cannot_be_checked_is_refused_at_the_create(one: Site) -> None:
    ann = signer().keep(folder(one))
    ident = await image(one)
    told = ann.properties(CONTENT)
    await later(one, ident, img_signature=told["img_signature"])
    refused(await asked(one, ident), 400, "Missing property: img_signature_hash_method")
    await later(one, ident, **(told | {"img_signature_key_type": "ECC_SECT571K1"}))
    refused(await asked(one, ident), 400, "img_signature_key_type")
    await later(one, ident, **(told | {"img_signature_certificate_uuid": "../../x"}))
    refused(await asked(one, ident), 400, "img_signature_certificate_uuid")
    # A kernel is what a guest runs, too.
    boots = await image(one, CONTENT + b"2", kernel_id=ident, ramdisk_id=ident)
    refused(await asked(one, boots), 400, "img_signature_certificate_uuid")
    await later(one, ident, **ann.properties(b"other bytes"))
    await failed(one, await served(one, boots), "Signature verification for the image failed")
    await later(one, ident, **told)
    assert await runs(one, await served(one, boots))
    refused(await asked(one, boots, [ann.ident]), 400, "is not signed")


async def why(site: Site, server: str) -> str:
    """Return what the last action of a server failed with."""
    path = f"{SERVERS}/{server}/os-instance-actions"
    last = (await site.ask("GET", path, version=HIGHEST)).json()["instanceActions"][0]["request_id"]
    found = (await site.ask("GET", f"{path}/{last}", who="admin", version=HIGHEST)).json()["instanceAction"]
    return "\n".join(f"{each['details']} {each['traceback']}" for each in found["events"])


async def rebuilt(site: Site, server: str, image_id: str, **more: Any) -> httpx.Response:
    reply: httpx.Response = await site.act(server, "rebuild", version=HIGHEST, imageRef=image_id, **more)
    return reply


async def test_a_rebuild_keeps_what_a_server_trusts_or_changes_it_and_leaves_it_where_it_fails(one: Site) -> None:
    first, second = root().keep(folder(one)), root().keep(folder(one))
    ann, bob = signer(first).keep(folder(one)), signer(second).keep(folder(one))
    anns = await image(one, b"a" + CONTENT, **ann.properties(b"a" + CONTENT))
    bobs = await image(one, b"b" + CONTENT, **bob.properties(b"b" + CONTENT))
    server = await served(one, anns, [first.ident])

    async def is_now(image_id: str, trusted: list[str] | None) -> None:
        found = await shown(one, server)
        assert (found["status"], found["image"]["id"]) == ("ACTIVE", image_id)
        assert found["trusted_image_certificates"] == trusted

    refused(await rebuilt(one, server, one.ids["image"]), 400, "is not signed")
    assert (await rebuilt(one, server, bobs)).status_code == 202
    await is_now(anns, [first.ident])
    assert "Could not locate the signing certificate" in await why(one, server)
    assert (await rebuilt(one, server, bobs, trusted_image_certificates=[second.ident])).status_code == 202
    await is_now(bobs, [second.ident])
    assert (await rebuilt(one, server, bobs)).status_code == 202
    await is_now(bobs, [second.ident])
    answer = await rebuilt(one, server, one.ids["image"], trusted_image_certificates=None)
    assert answer.json()["server"]["trusted_image_certificates"] is None
    await is_now(one.ids["image"], None)
    refused(await rebuilt(one, server, bobs, trusted_image_certificates=["x"]), 400, "trusted_image_certificates")


async def test_a_server_that_names_no_certificates_trusts_those_that_an_operator_does(
    first_start: Path, started_database: str, tmp_path: Path
) -> None:
    ours, other = root(), root()
    cloud = EmbeddedCloud(
        tmp_path / "state",
        template=first_start,
        database=started_database,
        trusted_image_certificates=f" {ours.ident.upper()}, ",
    )
    async with cloud, furnished(cloud) as site:
        for authority in (ours, other):
            authority.keep(folder(site))
        ann, bob = signer(ours).keep(folder(site)), signer(other).keep(folder(site))
        anns = await image(site, **ann.properties(CONTENT))
        bobs = await image(site, b"b" + CONTENT, **bob.properties(b"b" + CONTENT))
        refused(await asked(site, site.ids["image"]), 400, "is not signed")
        server = await served(site, anns)
        assert await runs(site, server)
        assert (await shown(site, server))["trusted_image_certificates"] == [ours.ident]
        await failed(site, await served(site, bobs), "Could not locate the signing certificate")
        named = await served(site, bobs, [other.ident])
        assert (await shown(site, named))["trusted_image_certificates"] == [other.ident]
        again = await rebuilt(site, named, anns, trusted_image_certificates=None)
        assert again.json()["server"]["trusted_image_certificates"] == [ours.ident]
        assert (await shown(site, named))["image"]["id"] == anns


async def test_a_rescue_boots_what_was_signed_and_a_snapshot_is_of_nobodys_signing(one: Site) -> None:
    authority = root().keep(folder(one))
    ann = signer(authority, key=ec.generate_private_key(ec.SECP521R1())).keep(folder(one))
    ident = await image(one, **ann.properties(CONTENT))
    server = await served(one, ident, [authority.ident])
    reply = await one.act(server, "rescue", version=HIGHEST, rescue_image_ref=one.ids["image"])
    refused(reply, 400, "is not signed")
    other = b"r" + CONTENT
    rescue = await image(one, other)
    await later(one, rescue, **ann.properties(CONTENT))
    await one.act(server, "rescue", version=HIGHEST, rescue_image_ref=rescue)
    found = await shown(one, server)
    assert found["status"] == "ACTIVE", "as it was"
    assert "Signature verification for the image failed" in await why(one, server)
    await later(one, rescue, **ann.properties(other))
    await one.act(server, "rescue", version=HIGHEST, rescue_image_ref=rescue)
    assert (await shown(one, server))["status"] == "RESCUE"
    await done(one, server, "unrescue")
    assert await runs(one, server)
    made = await one.act(server, "createImage", version=HIGHEST, name="snap")
    kept = (await one.ask("GET", f"/image/v2/images/{made.json()['image_id']}")).json()
    assert kept["status"] == "active"
    assert not [name for name in kept if name.startswith("img_signature")]


async def done(site: Site, server: str, action: str) -> None:
    """Have something done that needs no words, and wait for what becomes of it."""
    reply = await site.ask("POST", f"{SERVERS}/{server}/action", {action: None}, version=HIGHEST)
    assert reply.status_code in {200, 202}, reply.text
    await site.cloud.settled()


async def test_a_server_that_was_put_away_comes_back_of_its_own_disk_and_what_else_it_boots_is_verified(
    one: Site,
) -> None:
    authority = root().keep(folder(one))
    ann = signer(authority).keep(folder(one))
    kernel = await image(one, b"k" + CONTENT, **ann.properties(b"k" + CONTENT))
    ident = await image(one, kernel_id=kernel, **ann.properties(CONTENT))
    server = await served(one, ident, [authority.ident])
    await done(one, server, "shelve")
    assert (await shown(one, server))["status"] == "SHELVED_OFFLOADED"
    certificate = folder(one) / f"{ann.ident}.pem"
    kept = certificate.read_bytes()
    certificate.unlink()
    await done(one, server, "unshelve")
    assert "Certificate not found" in await why(one, server)
    assert (await shown(one, server))["status"] == "SHELVED_OFFLOADED"
    certificate.write_bytes(kept)
    await done(one, server, "unshelve")
    found = await shown(one, server)
    assert (found["status"], found["trusted_image_certificates"]) == ("ACTIVE", [authority.ident])
