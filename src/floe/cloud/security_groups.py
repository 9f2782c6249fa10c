"""Security groups and rules of a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from floe.cloud import address_groups, host_networks, network_room
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound
from floe.core.ids import derived
from floe.core.listing import Listing
from floe.core.security_groups import (
    DEFAULT,
    DEFAULT_DESCRIPTION,
    Group,
    Rule,
    checked_rule,
    default_rules,
    new_group_rules,
)
from floe.store import ports
from floe.store import security_groups as rows
from floe.store.engine import Connection

OWNED = network_room.Owned("security group", rows.ROWS)
RULES = network_room.Owned("security group rule", rows.RULES)
show, retag = OWNED.show, OWNED.retag
find_rules, show_rule, retag_rule = RULES.find, RULES.show, RULES.retag


def ensure_default(conn: Connection, project_id: str, fresh: str, now: datetime) -> str:
    """Return the id of a project's default group; it is made as `fresh` if it is not there. No quota holds for it."""
    found = rows.default_id(conn, project_id)
    if found is not None:
        return found
    group = _group(fresh, project_id, DEFAULT, DEFAULT_DESCRIPTION, default_rules(fresh), now)
    if rows.insert(conn, replace(group, default=True)):
        return fresh
    return rows.default_id(conn, project_id) or fresh


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Make groups (name, description, project_id); each starts with rules that let everything out.

    All of them or none. Raises Conflict for the name `default`, NoRoom.
    """

    now, ids, default = cloud.clock.now(), [cloud.new_id() for _ in asked], cloud.new_id()

    def make(conn: Connection) -> list[Group]:
        made = []
        for item, ident in zip(asked, ids, strict=True):
            project_id = network_room.owner(context, item.get("project_id"))
            ensure_default(conn, project_id, derived(default, project_id), now)
            network_room.demand(conn, project_id, "security_group")
            _not_default(item["name"])
            description = item.get("description") or ""
            group = _group(ident, project_id, item["name"], description, new_group_rules(), now)
            rows.insert(conn, group)
            made.append(group)
        return made

    return await cloud.db.write(make)


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[Group]:
    """Return the groups the caller sees; the project's default group is made on the first look."""
    project_id = context.project_id
    if project_id is not None and await cloud.db.read(lambda conn: rows.default_id(conn, project_id)) is None:
        fresh, now = cloud.new_id(), cloud.clock.now()
        await cloud.db.write(lambda conn: ensure_default(conn, project_id, fresh, now))
    return await OWNED.find(cloud, context, listing)


async def update(
    cloud: Cloud, context: Context, group_id: str, asked: Mapping[str, Any], seen: int | None = None
) -> Group:
    """Change a group's name or description, if it is at the revision `seen`. Raises NotFound, Conflict, Outdated."""

    now = cloud.clock.now()

    def change(conn: Connection) -> tuple[Group, bool]:
        group = OWNED.own(conn, context, group_id, seen)
        if "name" in asked:
            _not_default(asked["name"])
            if group.default:
                raise Conflict("The default security group cannot be renamed.", reason="default_group_stays")
        changes = {key: value for key, value in asked.items() if value != getattr(group, key)}
        if changes:
            rows.update(conn, group_id, changes, now)
        renamed = "name" in changes and host_networks.touch_group(conn, group_id)  # guests are told its name
        return OWNED.get(conn, context, group_id), renamed

    changed, touched = await cloud.db.write(change)
    if touched:
        await cloud.network_nudge()
    return changed


async def delete(cloud: Cloud, context: Context, group_id: str, seen: int | None = None) -> None:
    """Remove a group that no port uses, and the rules of others that refer to it.

    Raises NotFound, Conflict, Outdated.
    """

    def remove(conn: Connection) -> bool:
        group = OWNED.own(conn, context, group_id, seen)
        users = ports.in_group(conn, group_id)
        if users:
            raise Conflict(
                f"Security Group {group_id} in use: {users} port(s) are in it.", reason="security_group_in_use"
            )
        if group.default and not context.is_admin:
            raise Conflict(
                f"The default security group {group_id} can be removed by an administrator alone.",
                reason="default_group_cannot_go",
            )
        touched = host_networks.touch_referring(conn, group_id)
        rows.delete(conn, group_id)
        return touched

    if await cloud.db.write(remove):
        await cloud.network_nudge()


async def create_rules(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Add rules; each names its group (`group_id`), and belongs to the group's project.

    Raises NotFound for a group the caller does not have, Invalid, Conflict, NoRoom.
    """

    now, ids = cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection) -> tuple[list[Rule], bool]:
        made, touched = [], False
        for item, ident in zip(asked, ids, strict=True):
            rule = _new_rule(conn, context, item, ident, now)
            touched |= host_networks.touch_group(conn, rule.group_id)
            made.append(rule)
        return made, touched

    made, touched = await cloud.db.write(make)
    if touched:
        await cloud.network_nudge()
    return made


async def delete_rule(cloud: Cloud, context: Context, rule_id: str, seen: int | None = None) -> None:
    """Remove a rule. Raises NotFound, Outdated."""

    now = cloud.clock.now()

    def remove(conn: Connection) -> bool:
        rule = RULES.own(conn, context, rule_id, seen)
        rows.delete_rule(conn, rule_id)
        rows.update(conn, rule.group_id, {}, now)
        return host_networks.touch_group(conn, rule.group_id)

    if await cloud.db.write(remove):
        await cloud.network_nudge()


def of_project(conn: Connection, project_id: str, asked: Sequence[str], fresh: str, now: datetime) -> dict[str, str]:
    """Return a project's groups (id: name) by name or id, as a create of a server names them.

    The default group is made as `fresh` if it is not there.

    Raises Invalid for an unknown one, Conflict for a name that several groups have.
    """
    default = ensure_default(conn, project_id, fresh, now)
    if not asked:
        return {default: DEFAULT}
    known = rows.named(conn, project_id, asked)
    found: dict[str, str] = {}
    for text in asked:
        by_id = [group for group in known if group[0] == text]
        matches = by_id or [group for group in known if group[1] == text]
        if not matches:
            raise Invalid(f"Security group {text} not found for project {project_id}.")
        if len(matches) > 1:
            raise Conflict(f"Multiple security groups found matching '{text}'. Use an ID to be more specific.")
        found.update(matches)
    return found


def _new_rule(conn: Connection, context: Context, item: Mapping[str, Any], rule_id: str, now: datetime) -> Rule:
    group_id = item["group_id"]
    project_id = _owner(conn, context, group_id)
    checked = checked_rule(item)
    if checked["remote_group"] is not None:
        _owner(conn, context, checked["remote_group"])
    if checked["remote_address_group"] is not None:
        address_groups.OWNED.get(conn, context, checked["remote_address_group"])
    network_room.demand(conn, project_id, "security_group_rule")
    rule = Rule(id=rule_id, group_id=group_id, project_id=project_id, created_at=now, updated_at=now, **checked)
    if not rows.insert_rule(conn, rule):
        raise Conflict(
            f"Security group rule already exists. Rule id is {rows.same_rule(conn, rule)}.", reason="rule_exists"
        )
    rows.update(conn, group_id, {}, now)
    return rule


def _owner(conn: Connection, context: Context, group_id: str) -> str:
    """Return whose a group is, without its rules, of which there may be many. Raises NotFound."""
    found = rows.owned(conn, [group_id], network_room.scope(context))
    if group_id not in found:
        raise NotFound("security group", group_id)
    return found[group_id]


def _not_default(name: str) -> None:
    if name.lower() == DEFAULT:
        raise Conflict(
            "The security group 'default' exists already; choose another name.", reason="default_group_exists"
        )


def _group(
    group_id: str, project_id: str, name: str, description: str, rules: Sequence[Mapping[str, Any]], now: datetime
) -> Group:
    made = [
        Rule(
            id=derived(group_id, f"rule {number}"),
            group_id=group_id,
            project_id=project_id,
            created_at=now,
            updated_at=now,
            **rule,
        )
        for number, rule in enumerate(rules)
    ]
    return Group(
        id=group_id,
        project_id=project_id,
        name=name,
        description=description,
        created_at=now,
        updated_at=now,
        rules=tuple(sorted(made, key=lambda rule: rule.id)),  # as they are read
    )
