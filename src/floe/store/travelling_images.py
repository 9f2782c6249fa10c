"""Images that servers travel as from host to host: nobody's, hidden, each of one move, whose action it names."""

from __future__ import annotations

import sqlalchemy as sa

from floe.core.actions import OPEN_STATES
from floe.core.images import DELETED, MOVED_BY
from floe.store.actions import actions
from floe.store.engine import Connection
from floe.store.images import image_properties, images
from floe.store.prepared import Prepared

_i, _p, _a = images.c, image_properties.c, actions.c
_MOVES = sa.exists().where(_a.id == _p.value, _a.state.in_([sa.literal(state) for state in sorted(OPEN_STATES)]))
_LEFT = Prepared(
    sa.select(_i.id)
    .join(image_properties, sa.and_(_p.image_id == _i.id, _p.name == sa.literal(MOVED_BY)))
    .where(_i.owner.is_(None), _i.status != sa.literal(DELETED), sa.not_(_MOVES.correlate(image_properties)))
    .order_by(_i.id)
)


def left(conn: Connection) -> list[str]:
    """Return those whose move has ended: they were to go in the transaction that ended it."""
    return [row.id for row in _LEFT.rows(conn)]
