"""A live run over Kafka and Redis ends in the very bytes of a replay of the same log."""

from __future__ import annotations

from pathlib import Path

from rillet.simulate import World
from rillet.verify import KINDS
from stream.events import BadRecord, Event, Identify, Item, decode, encode
from tests.builders import MINUTE, interaction, write_log
from tests.integration.live import Rillet, Running, Start, eventually, verify, worked_off

CUT = 100
PACE, BURST = 20, 70
"""Events a minute beyond which a user goes too fast; and how many a robot makes of one minute."""


def a_log(path: Path) -> Path:
    """Write a small shop's log, its items first, by id, as a consumer that starts loads them.

    Without ``identify``, whose hand-over comes back through the events topic:
    when it comes depends on what else lies in the topic by then.
    """
    world = World(seed=11, users=40, items=240, days=2)
    events: list[Event] = [event for event in world.events() if not isinstance(event, Identify)]
    items = sorted((one for one in events if isinstance(one, Item)), key=lambda one: one.item)
    return write_log(path, [*items, *(one for one in events if not isinstance(one, Item))])


def with_a_robot(log: Path) -> Path:
    """Add a robot to a log: twice, days apart, he clicks on everything within half a minute."""
    lines = log.read_bytes().splitlines()
    events = [decode(line) for line in lines]
    items = [event.item for event in events if isinstance(event, Item)]
    for at in (len(lines) - 20, len(items) + 50):
        event = events[at]
        assert not isinstance(event, BadRecord)
        start = event.timestamp // MINUTE * MINUTE
        clicks = [
            interaction(items[n % len(items)], start + n * 400, "robot") for n in range(BURST)
        ]
        lines[at:at] = [encode(click) for click in clicks]
    log.write_bytes(b"\n".join(lines) + b"\n")
    return log


def publish_and_consume(rillet: Rillet, start: Start, log: Path) -> Running:
    """Publish a log, let all consumers work it off, and return them, still running."""
    assert rillet("init", "--topics").returncode == 0
    assert rillet("publish", str(log)).returncode == 0
    first = start("consume", "catalogue")
    eventually(lambda: worked_off(rillet, ["catalogue"]), first.said)
    assert first.end() == 0
    up = start("up")
    eventually(lambda: worked_off(rillet), up.said)
    return up


def test_cut_at_the_same_offsets_everything_is_equal(
    rillet: Rillet, start: Start, variables: dict[str, str], tmp_path: Path
) -> None:
    variables |= {
        "RILLET_KAFKA__PARTITIONS": "1",
        "RILLET_BATCH__CUT": str(CUT),
        "RILLET_BATCH__LOCKSTEP": "true",
    }
    log = a_log(tmp_path / "log.jsonl")
    up = publish_and_consume(rillet, start, log)
    found = verify(rillet, log, "--recs", "--stamps")
    assert set(found) == set(KINDS)
    assert [one for one in found.values() if one["wrong"]] == []
    assert found["session"]["equal"] > 30
    assert found["recs"]["equal"] == found["session"]["equal"] + 1  # and the default list
    assert up.end() == 0, up.said()


def test_shared_by_two_processes_states_and_statistics_are_equal(
    rillet: Rillet, start: Start, variables: dict[str, str], tmp_path: Path
) -> None:
    """Also with a robot among the users, of whose haste nothing may be learned."""
    variables["RILLET_LIMITS__USER_EVENTS_PER_MINUTE"] = str(PACE)
    log = with_a_robot(a_log(tmp_path / "log.jsonl"))
    assert rillet("init", "--topics").returncode == 0
    up = start("up", "--personalize", "2")
    assert rillet("publish", str(log)).returncode == 0
    eventually(lambda: worked_off(rillet), up.said)
    found = verify(rillet, log)
    assert [one for one in found.values() if one["wrong"]] == []
    assert found["session"]["equal"] > 30
    assert found["itemstate"]["equal"] > 100
    assert up.end() == 0, up.said()
    variables["RILLET_LIMITS__USER_EVENTS_PER_MINUTE"] = "0"
    unlimited = verify(rillet, log)
    assert unlimited["session"]["wrong"] == 0
    assert unlimited["itemstate"]["wrong"] >= BURST - PACE
    variables["RILLET_LIMITS__USER_EVENTS_PER_MINUTE"] = str(PACE)
    log.write_bytes(log.read_bytes().rsplit(b"\n", 2)[0] + b"\n")
    assert sum(one["wrong"] for one in verify(rillet, log).values()) > 0
