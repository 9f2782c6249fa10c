"""The reply to a create says what the next read says, lists in the same order."""

from __future__ import annotations

from typing import Any

NETWORK = "/network/v2.0"
NOUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "network": (f"{NETWORK}/networks", "network", {"name": "n"}),
    "subnet": (
        f"{NETWORK}/subnets",
        "subnet",
        {
            "cidr": "10.7.0.0/24",
            "ip_version": 4,
            "dns_nameservers": ["10.7.0.9", "10.7.0.3", "10.7.0.5"],
            "allocation_pools": [{"start": f"10.7.0.{n}0", "end": f"10.7.0.{n}5"} for n in (9, 3, 5)],
            "host_routes": [{"destination": f"10.{n}.0.0/16", "nexthop": "10.7.0.2"} for n in (90, 30, 50)],
        },
    ),
    "port": (
        f"{NETWORK}/ports",
        "port",
        {
            "fixed_ips": [{"ip_address": f"10.8.0.{n}"} for n in (90, 30, 50)],
            "allowed_address_pairs": [{"ip_address": f"10.9.0.{n}"} for n in (90, 30, 50)],
        },
    ),
    "security group": (f"{NETWORK}/security-groups", "security_group", {"name": "g"}),
    "rule": (f"{NETWORK}/security-group-rules", "security_group_rule", {"direction": "ingress", "protocol": "tcp"}),
    "image": ("/image/v2/images", "", {"name": "i", "tags": ["c", "a", "b"], "os_distro": "debian"}),
    "server group": ("/compute/v2.1/os-server-groups", "server_group", {"name": "g", "policy": "anti-affinity"}),
    "project": ("/identity/v3/projects", "project", {"name": "p", "domain_id": "default", "tags": ["c", "a", "b"]}),
    "user": ("/identity/v3/users", "user", {"name": "u", "domain_id": "default", "password": "long enough"}),
    "group": ("/identity/v3/groups", "group", {"name": "g", "domain_id": "default"}),
    "role": ("/identity/v3/roles", "role", {"name": "r"}),
    "service": ("/identity/v3/services", "service", {"name": "s", "type": "t"}),
    "flavor": ("/compute/v2.1/flavors", "flavor", {"name": "f", "ram": 64, "vcpus": 1, "disk": 1}),
}


async def _within(user: Any, noun: str) -> dict[str, Any]:
    """Return the fields that name what something is made in."""
    if noun == "rule":
        reply = await user.http.post(f"{NETWORK}/security-groups", json={"security_group": {"name": "of the rule"}})
        return {"security_group_id": reply.json()["security_group"]["id"]}
    if noun not in ("subnet", "port"):
        return {}
    network = (await user.http.post(f"{NETWORK}/networks", json={"network": {"name": "n"}})).json()["network"]["id"]
    subnet = {"network_id": network, "cidr": "10.8.0.0/24", "ip_version": 4}
    await user.http.post(f"{NETWORK}/subnets", json={"subnet": subnet})
    return {"network_id": network}


async def test_the_reply_to_a_create_is_what_is_read_next(start: Any, kit: Any) -> None:
    demo = await start()
    admin = await kit.user(demo.cloud, "admin").login()
    differ = {}
    for noun, (path, wrapper, fields) in NOUNS.items():
        within = await _within(admin, noun)
        for turn in range(6 if noun == "security group" else 1):  # ids are random, and so would be an order by them
            body = fields | within | ({"name": f"{fields['name']}{turn}"} if "name" in fields else {})
            reply = await admin.http.post(path, json={wrapper: body} if wrapper else body)
            assert reply.status_code in (200, 201), f"{noun}: {reply.text}"
            made = reply.json()[wrapper] if wrapper else reply.json()
            read = (await admin.http.get(f"{path}/{made['id']}")).json()
            read = read[wrapper] if wrapper else read
            if made != read:
                differ[noun] = {
                    key: (made.get(key), read.get(key)) for key in made | read if made.get(key) != read.get(key)
                }
    await admin.http.aclose()
    assert differ == {}
