"""One caller's slow work and another's: how long one waits, alone and while many ask for what is slow.

These figures are seconds on the clock, and so those of a quiet machine alone; what order they have tests hold.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable

from bench_client import Client, Http

CROWD, KEYS, UPLOAD = 240, 15, 3 * 2**20


async def _ms(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1000


async def wrong_logins(demo: Client) -> dict[str, float]:
    """Log in with the right password from one address while 240 wrong ones for the same user come from another."""

    async def wrong(number: int) -> int:
        who = {"name": demo.user, "domain": {"name": "Default"}, "password": f"wrong-{number}"}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}}}
        http = Http(demo.http.port)
        status, _, _ = await http.call("POST", "/identity/v3/auth/tokens", body)
        http.close()
        return status

    right = demo.another(source="127.0.0.2")
    alone = sorted([await _ms(right.login()) for _ in range(5)])[2]
    crowd = [asyncio.create_task(wrong(number)) for number in range(CROWD)]
    await asyncio.sleep(0.3)  # they wait by now
    meanwhile = await _ms(right.login())
    answers = await asyncio.gather(*crowd)
    return {
        "login_alone_ms": alone,
        "login_among_wrong_ones_ms": meanwhile,
        "wrong_logins_answered_429": float(answers.count(429)),
    }


async def new_keys(demo: Client, admin: Client) -> dict[str, float]:
    """Upload 3 MB of an image while another project has 15 keypairs generated."""

    async def upload() -> None:
        image = {"name": "crowd", "disk_format": "raw", "container_format": "bare"}
        made = await admin.ask("POST", "/image/v2/images", image, 201)
        path = f"/image/v2/images/{made['id']}"
        await admin.ask("PUT", f"{path}/file", os.urandom(UPLOAD), 204, content_type="application/octet-stream")
        await admin.ask("DELETE", path, expect=204)

    async def key(number: int) -> None:
        mine = demo.another()
        body = {"keypair": {"name": f"crowd-{number}"}}
        await mine.ask(
            "POST", "/compute/v2.1/os-keypairs", body, x_openstack_nova_api_version="2.1"
        )  # later ones make none
        mine.http.close()

    alone = sorted([await _ms(upload()) for _ in range(5)])[2]
    crowd = [asyncio.create_task(key(number)) for number in range(KEYS)]
    await asyncio.sleep(0.1)
    meanwhile = await _ms(upload())
    await asyncio.gather(*crowd)
    for number in range(KEYS):
        await demo.ask("DELETE", f"/compute/v2.1/os-keypairs/crowd-{number}", expect=204)
    return {"upload_alone_ms": alone, "upload_among_new_keys_ms": meanwhile}
