"""What a process's bus counted was in no page of metrics: it kept counters of its own."""

from __future__ import annotations

from pathlib import Path

from floe.assembly import surroundings
from floe.bus.parts import MOST_BYTES
from floe.bus.wire import UNSENT
from floe.core.messages import Heartbeat, Progress
from floe.settings import Settings


async def test_what_is_lost_for_want_of_a_bus_or_room_is_counted_where_the_process_counts(tmp_path: Path) -> None:
    around = surroundings.shared(Settings(state=tmp_path, bus="nats://127.0.0.1:1"), "api")
    await around.bus.publish(Heartbeat(host="h1"))
    assert around.counters.total(UNSENT) == 1
    await around.bus.publish(Progress(host="h1", action_id="a", step="x" * (MOST_BYTES + 1), started=0.0))
    assert around.counters.total(UNSENT) == 2
