"""Statistics by arrays: the bytes of those that are told row by row."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import pytest

from features.card import AsOf
from features.session import admit, advance, new_session
from models.activity import ActivityWriter, rows_by_item
from models.item_state import ItemState, encode_item_state, fold_rows
from models.tally import Tally
from stream.events import Event, partition_key
from stream.settings import NeighboursSettings
from tests.builders import DAY, HOUR, MINUTE, NOON, RULES, interaction, profile, ranking, search

SOURCE = -1
TYPES = ("click", "purchase", "dislike", "unheard-of")

ITEMS = 20


def some_events(seed: int, n: int, span: int) -> list[Event]:
    """Return the events of three users on twenty items, some of them late, within so many ms."""
    draw, events = random.Random(seed), list[Event]()
    for at in range(n):
        time = max(0, NOON + span * at // n + draw.choice((0, 0, MINUTE, HOUR, -3 * DAY)))
        user, items = (
            draw.choice("uvw"),
            [f"i{number}" for number in draw.choices(range(ITEMS), k=3)],
        )
        kind = draw.random()
        if kind < 0.7:
            shown = draw.choice((None, "list"))
            what = draw.choice(TYPES)
            events.append(interaction(items[0], time, user, type=what, ranking=shown))
        elif kind < 0.9:
            events.append(ranking(items, time, user))
        else:
            events.append(draw.choice((profile(time, user, age=3.0), search("tea", time, user))))
    return events


class Twice:
    """Tells of events by rows and by arrays."""

    def __init__(self, settings: NeighboursSettings) -> None:
        self.settings = settings
        self.tally, self.writer = Tally(settings, SOURCE), ActivityWriter(settings, "", 1)
        self.sessions = {user: new_session(user) for user in "uvw"}
        self.by_rows: dict[str, ItemState] = {}
        self.by_arrays: dict[str, ItemState] = {}

    def tell(self, event: Event, offset: int) -> None:
        session, place = self.sessions[partition_key(event)], (SOURCE, offset)
        moment = admit(session, event, place, RULES)
        assert moment is not None
        self.tally.add(session, event, moment, offset)
        self.writer.add(session, event, moment, place)
        advance(session, event, moment, place, RULES)

    def fold(self) -> list[str]:
        """Fold what was told both ways; return the items that were touched."""
        touched = [state.item for state in self.tally.fold(partial(loaded, self.by_arrays))]
        rows = [(record, rows_by_item(record)) for _, record in self.writer.take()]
        assert sorted(touched) == sorted(item for _, by_item in rows for item in by_item)
        for record, by_item in rows:
            for item, its_rows in by_item.items():
                (state,) = loaded(self.by_rows, [item])
                fold_rows(state, record, its_rows, self.settings)
        return touched


def loaded(states: dict[str, ItemState], names: Sequence[str]) -> list[ItemState]:
    return [states.setdefault(name, ItemState(AsOf(-1, -1, 0), name)) for name in names]


def encoded(states: dict[str, ItemState]) -> dict[str, bytes]:
    return {name: encode_item_state(state) for name, state in states.items()}


@pytest.mark.parametrize(
    ("span", "rules"),
    [
        (4 * DAY, {}),
        (4 * DAY, {"window": 1}),
        (HOUR, {"window": 3, "decay": 0.05}),  # the third of them rounds to nothing
        (90 * DAY, {"capacity": 10}),
        (1000 * DAY, {"half_life_days": 0.5}),  # over several landmarks
        (300 * DAY, {"half_life_days": 0.01}),  # beyond what a double holds
    ],
)
@pytest.mark.parametrize("steps", [1, 4])
def test_both_ways_come_to_the_same_bytes(span: int, rules: dict[str, float], steps: int) -> None:
    twice = Twice(NeighboursSettings.model_validate(rules))
    events = some_events(steps, 800, span)
    for offset, event in enumerate(events):
        twice.tell(event, offset)
        if (offset + 1) % (len(events) // steps) == 0:
            twice.fold()
            assert encoded(twice.by_arrays) == encoded(twice.by_rows)
    assert len(twice.by_rows) == ITEMS
    assert any(state.next for state in twice.by_rows.values())


def test_nothing_told_touches_nothing() -> None:
    twice = Twice(NeighboursSettings())
    assert twice.fold() == []
    twice.tell(profile(NOON, "u", age=3.0), 6)
    twice.tell(ranking(["a"]), 7)
    assert twice.fold() == ["a"]
    assert twice.by_arrays["a"].totals == {"shown": 1}
    assert twice.by_arrays["a"].seen == {"-1": 7}
    assert twice.fold() == []
