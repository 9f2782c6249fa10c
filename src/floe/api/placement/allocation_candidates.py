"""/allocation_candidates: which hosts could take a request, and how much each has.

Every host is a tree of one provider, so all groups of a request have to fit the same one; with
`group_policy=isolate`, two groups never do.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from floe.api.kit.call import Call, Reply
from floe.api.kit.encoding import Members
from floe.api.kit.policy import admin_or_service
from floe.api.kit.query import Param, items, shaped
from floe.api.kit.routing import Route
from floe.api.kit.values import whole
from floe.api.placement.query import grouped, in_aggregates, query_fault, resources, table, traits, uuid
from floe.cloud import providers as cloud
from floe.cloud.providers import ProviderQuery
from floe.core.errors import Invalid
from floe.core.hosts import Host

_GROUPED = (("resources", (1, 10)), ("required", (1, 17)), ("member_of", (1, 21)), ("in_tree", (1, 31)))
_NUMBERED, _NAMED = "[1-9][0-9]*", "[a-zA-Z0-9_-]{1,64}"
_QUERY = table(
    *(Param(name, since=since, many=True) for name, since in _GROUPED if name != "member_of"),
    Param("member_of", since=(1, 21), until=(1, 23)),
    Param("member_of", since=(1, 24), many=True),
    *(Param(name, max(since, (1, 25)), (1, 32), many=True, suffix=_NUMBERED) for name, since in _GROUPED),
    *(Param(name, since=(1, 33), many=True, suffix=_NAMED) for name, _ in _GROUPED),
    Param("limit", since=(1, 16), many=True, check=shaped("[1-9][0-9]*", "a whole number of 1 or more")),
    Param("group_policy", since=(1, 25), many=True, check=shaped("none|isolate", "'none' or 'isolate'")),
    Param("root_required", since=(1, 35), check=shaped("(?!in:).*", "a list of traits")),
    Param("same_subtree", since=(1, 36), many=True),
)


async def index(call: Call) -> Reply:
    """GET."""
    groups = grouped(call)
    _check(call, groups)
    query, fits = _query(call, groups)
    limit = _limit(call)
    with_resources = [suffix for suffix, group in groups.items() if "resources" in group]
    isolated = call.one("group_policy") == "isolate" and sum(1 for suffix in with_resources if suffix) > 1
    found = await cloud.find(call.cloud, query, limit) if fits and not isolated else []
    return Reply(
        200,
        {
            "allocation_requests": (_request(call, host, query, with_resources) for host in found),
            "provider_summaries": Members((host.id, _summary(call, host, query)) for host in found),
        },
    )


def _check(call: Call, groups: dict[str, dict[str, list[str]]]) -> None:
    if not any("resources" in group for group in groups.values()):
        raise Invalid("At least one request group requires resources: add resources=CLASS:AMOUNT to the query.")
    suffixes = [suffix for suffix, group in groups.items() if suffix and "resources" in group]
    if len(suffixes) > 1 and call.one("group_policy") is None:
        raise Invalid(
            'The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.'
        )
    _check_subtrees(call, groups)


def _check_subtrees(call: Call, groups: dict[str, dict[str, list[str]]]) -> None:
    """Refuse groups without resources, but from 1.36 on such as `same_subtree` names.

    A host is a tree of one provider: what is said to be in one subtree is so, if it is asked for at all.
    """
    named = {part.strip() for text in call.many("same_subtree") for part in items(text, "same_subtree")}
    for suffix in sorted(named):
        if not suffix or suffix not in groups:
            raise Invalid(query_fault("same_subtree", f"{suffix[:80]!r} is no suffix of a group of this request"))
    for suffix, group in groups.items():
        alone = call.version >= (1, 36) or group.keys() & {"required", "member_of"}
        if "resources" not in group and alone and suffix not in named:
            name = next(iter(group)) + suffix
            raise Invalid(
                query_fault(name, f"it has to be associated with resources: add resources{suffix}=CLASS:AMOUNT")
            )


def _query(call: Call, groups: dict[str, dict[str, list[str]]]) -> tuple[ProviderQuery, bool]:
    """Return what one provider has to have to take all groups, and whether it may at all."""
    wanted: dict[str, int] = {}
    needed = traits(call, call.many("root_required"))
    trees = set()
    for suffix, group in groups.items():
        for text in group.get("resources", ())[-1:]:
            for name, amount in resources(text, "resources" + suffix).items():
                wanted[name] = wanted.get(name, 0) + amount
        more, aggregates = traits(call, group.get("required", [])), in_aggregates(call, group.get("member_of", []))
        needed = replace(
            needed,
            required=needed.required | more.required,
            forbidden=needed.forbidden | more.forbidden,
            required_any=(*needed.required_any, *more.required_any),
            member_of=(*needed.member_of, *aggregates[0]),
            not_member_of=needed.not_member_of | aggregates[1],
        )
        trees |= {uuid(value, "in_tree" + suffix) for value in group.get("in_tree", ())}
    return replace(needed, resources=wanted, ids=frozenset(trees) if trees else None), len(trees) <= 1


def _limit(call: Call) -> int | None:
    text = call.one("limit")
    return None if text is None else whole(text, "limit", 1, cut=True, fault=query_fault)


def _request(call: Call, host: Host, query: ProviderQuery, suffixes: list[str]) -> dict[str, Any]:
    amounts = dict(query.resources)
    if call.version < (1, 12):
        return {"allocations": [{"resource_provider": {"uuid": host.id}, "resources": amounts}]}
    request: dict[str, Any] = {"allocations": {host.id: {"resources": amounts}}}
    if call.version >= (1, 34):
        request["mappings"] = {suffix: [host.id] for suffix in suffixes}
    return request


def _summary(call: Call, host: Host, query: ProviderQuery) -> dict[str, Any]:
    taken = host.used.by_class()
    summary: dict[str, Any] = {
        "resources": {
            each.resource_class: {"capacity": each.capacity, "used": taken.get(each.resource_class, 0)}
            for each in host.inventories
            if call.version >= (1, 27) or each.resource_class in query.resources
        }
    }
    if call.version >= (1, 17):
        summary["traits"] = list(host.traits)
    if call.version >= (1, 29):
        summary |= {"parent_provider_uuid": None, "root_provider_uuid": host.id}
    return summary


_RULE = "placement:allocation_candidates:list"
ROUTES = (Route("GET", "/allocation_candidates", index, _RULE, since=(1, 10), query=_QUERY),)
POLICIES = {_RULE: admin_or_service}
