"""The console over Kafka: a click, consumers in their own processes, what is seen of them."""

from __future__ import annotations

import asyncio
import time

from rillet.console.desk import Desk, Done
from rillet.console.watch import Seen, Watch
from rillet.serving.service import Service
from stream.events import Millis, decode, encode
from stream.routing import outgoing
from stream.settings import Settings
from tests.builders import item
from tests.integration.live import Rillet, Start, eventually

THINGS = {f"i{number}": f"thing number {number}" for number in range(12)}
NAMES = {"catalogue", "neighbours", "personalize"}
PATIENCE_S = 60.0


async def all_seen(watch: Watch) -> Seen:
    """Look at the consumers until each has written a heartbeat, and the bad event is buried."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        seen = await watch.seen()
        alive = {pulse.name for pulse in seen.state.processes}
        if (alive == NAMES and seen.state.deadletters) or time.monotonic() > deadline:
            return seen
        await asyncio.sleep(0.2)


async def clicks(settings: Settings) -> tuple[Done, Done, Seen, list[str]]:
    """Do what the console does: put items on sale, click twice, look at the consumers."""
    service = Service(settings, None)
    await service.start()
    try:
        desk, watch = Desk(service), Watch(service)
        now = Millis(service.now_ms())
        shop = [item(name, now, title=title) for name, title in THINGS.items()]
        records = [outgoing(encode(one), one, settings) for one in shop]
        await service.publisher.publish([*records, outgoing(b"{}", decode(b"{}"), settings)])
        first = await desk.interact("ann", "i3", "view")
        second = await desk.interact("ann", "i5", "purchase")
        await desk.shelf.load()
        return first, second, await all_seen(watch), desk.shelf.types
    finally:
        await service.close()


def test_a_click_goes_through_kafka_and_comes_back_as_a_list(
    rillet: Rillet, start: Start, settings: Settings
) -> None:
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    eventually(lambda: "personalize reads" in up.said(), up.said)
    first, second, seen, types = asyncio.run(clicks(settings))
    assert first.known.session is not None
    assert second.known.session is not None
    assert second.known.session.history.items == ["i3", "i5"]
    assert second.known.answer is not None
    assert second.known.answer.user == "ann"
    assert second.took_ms > 0
    assert types == ["view", "purchase"]
    assert {pulse.name for pulse in seen.state.processes} == NAMES
    assert seen.state.deadletters == 1
    assert seen.letters == []
