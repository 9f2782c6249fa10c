"""/v1/servers/{server_id}/why-not: what becomes of a packet to a server, place by place, and what stops it."""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.policy import in_project, project_reader
from floe.api.kit.query import Param, Query
from floe.cloud import packets
from floe.core.packets.asking import read_question
from floe.core.packets.scene import Finding, Step


async def show(call: Call) -> Reply:
    """GET: with `port`, `protocol`, `from` (a server's id, or an address; the outside if absent) and `to`."""
    question = read_question(
        call.params["server_id"], call.one("port"), call.one("protocol"), call.one("from"), call.one("to")
    )
    found = await packets.explain(call.cloud, call.context, question)
    return Reply(200, {"why_not": _shown(found)})


def _shown(found: Finding) -> dict[str, Any]:
    packet = found.packet
    sent = {
        "protocol": packet.protocol, "port": packet.port, "source": packet.source, "target": packet.target,
    } if packet is not None else None  # fmt: skip
    return {
        "verdict": found.verdict,
        "packet": sent,
        "steps": [_step(step) for step in found.steps],
        "stopped_by": None if found.stop is None else _step(found.stop),
    }


def _step(step: Step) -> dict[str, Any]:
    shown = {"mark": step.mark.value, "kind": step.kind, "id": step.id, "name": step.name or None, "text": step.text}
    return {**shown, "rule": step.rule, "remedy": step.remedy or None}


_QUERY = Query(*(Param(name) for name in ("port", "protocol", "from", "to")))
ROUTES = (Route("GET", "/v1/servers/{server_id}/why-not", show, "floe:packets:show", query=_QUERY),)
POLICIES = {"floe:packets:show": in_project(project_reader)}
