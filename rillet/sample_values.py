"""Values as they will lie in Redis, made by the real folds and codecs: for an estimate."""

from __future__ import annotations

import math
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from features.card import AsOf, encode_card, fold_item
from features.parts.base import Rules
from features.session import encode_session, fold, new_session
from models.activity import Activity, ActivityWriter
from models.answer import Answer, Listed, Reason, encode_answer
from models.explain import DECIMALS, REASONS
from models.item_state import ItemState, encode_item_state, fold_rows, view
from models.sources.registry import SOURCES
from rillet.sizes import Shape
from stream.events import (
    Event,
    Field,
    Interaction,
    Item,
    Millis,
    Ranking,
    Search,
    ShownItem,
    encode,
)
from stream.settings import Settings

__all__ = ["Values", "sample_values"]

NOW_MS: Final = 1_795_500_000_000
DAY_MS: Final = 86_400_000
TYPES: Final = ("view", "click", "click", "cart", "purchase")
ENCODER: Final = "all-MiniLM-L6-v2-9f6ec53b99df-int8-mean-96-r1"
"""As long as the name of the builtin encoder's version is."""

VISIT: Final = 6
"""Interactions of one visit."""

ANCHORED: Final = 0.45
"""Share of the reasons that name an item of the user's past."""

SECOND: Final = 0.98
"""Share of the items of a list that have a second reason."""

FIRST: Final = 0.1
"""Chance of a list's first item, about; the others have less, by their place."""

ROWS: Final = 3000
"""Rows that an item's statistics are made from, at the most; more repeat what is there."""


@dataclass(frozen=True, slots=True)
class Values:
    """Sample values by kind of key, and the records of one user's events.

    Attributes
    ----------
    by_kind
        Kind to values; each is as long as one in Redis is.
    events, transitions
        Records on the topics of events and of transitions that made them.
    """

    by_kind: dict[str, list[bytes]]
    events: list[bytes]
    transitions: list[bytes]


class _Maker:
    def __init__(self, shape: Shape, settings: Settings, seed: int) -> None:
        self.shape, self.settings = shape, settings
        self.chance = random.Random(seed)  # noqa: S311 - no secret hangs on it
        self.rules = Rules(settings.session, settings.interactions)
        self.events: list[bytes] = []
        self.writer = ActivityWriter(settings.neighbours, "", 1)

    def user(self) -> str:
        return self._name(self.shape.user_chars)

    def item(self) -> str:
        # Popular items come again: a user's own items repeat, as those of his lists do.
        number = int(self.shape.items * self.chance.random() ** 2)
        return f"i{number:0{max(1, self.shape.item_chars - 1)}d}"[: self.shape.item_chars]

    def _name(self, chars: int) -> str:
        return "".join(self.chance.choices(string.ascii_lowercase + string.digits, k=chars))

    def _words(self, chars: int) -> str:
        words: list[str] = []
        while sum(map(len, words)) + len(words) <= chars:
            words.append(self._name(self.chance.randint(3, 9)))
        return " ".join(words)[:chars]

    def session(self, level: float) -> bytes:
        """Fold as many events as a user at this level has, 0 the fewest, 1 the most."""
        mean, session = self.shape.history, new_session(self.user())
        many = max(1, _at(level, mean))
        shares = (self.shape.lists / max(mean, 1e-9), self.shape.searches / max(mean, 1e-9))
        time, offset = NOW_MS - int(self.shape.days * DAY_MS), self.chance.randrange(10**6)
        for n in range(many):
            if n % VISIT == 0:
                common = {"user": session.user, "session": self._name(6)}
                time += self.chance.randrange(int(self.shape.days * DAY_MS * VISIT / many) + 1)
            time += self.chance.randrange(60_000)
            past = session.history.items
            for event in self._deeds(common | {"timestamp": Millis(time)}, shares, past):
                place, offset = (0, offset), offset + 1
                moment = fold(session, event, place, self.rules)
                if moment is not None:  # short ids meet again, as duplicates do
                    self.writer.add(session, event, moment, place)
                self.events.append(encode(event))
        return encode_session(session)

    def _deeds(
        self, common: dict[str, Any], shares: tuple[float, float], past: Sequence[str]
    ) -> Sequence[Event]:
        """Return an interaction, and by chance the list it came from and a search before."""
        deeds: list[Event] = []
        ranking = None
        if self.chance.random() < shares[0]:
            ranking = self._name(self.shape.id_chars) or None
            shown = [ShownItem(self.item()) for _ in range(round(self.shape.shown))]
            deeds.append(Ranking(id=ranking, items=shown, **common))
        kind = self.chance.choice(TYPES)
        name = self._name(self.shape.id_chars) or None
        if self.chance.random() < shares[1]:
            deeds.append(Search(query=self._words(12), **common))
        again = past and self.chance.random() < self.shape.repeats
        item = self.chance.choice(past) if again else self.item()
        deed = Interaction(item=item, type=kind, ranking=ranking, id=name, **common)
        return [*deeds, deed]

    def answer(self) -> bytes:
        """Return a list as the engine writes it."""
        chance, rules = self.chance, self.settings.recommend
        names = list(SOURCES)
        listed = [
            Listed(
                self.item(),
                round(FIRST / place * chance.random(), DECIMALS),
                self._reasons(names) if place <= rules.explained else [],
            )
            for place in range(1, min(rules.length, self.shape.items) + 1)
        ]
        sources = [name for name in names if chance.random() < 0.8]
        as_of = AsOf(chance.randrange(9), chance.randrange(10**7), NOW_MS)
        model = f"blend-{chance.randrange(10**4, 10**6)}"
        return encode_answer(Answer(as_of, self.user(), listed, model, sources, NOW_MS))

    def _reasons(self, names: Sequence[str]) -> list[Reason]:
        many = REASONS if self.chance.random() < SECOND else 1
        return [
            Reason(
                self.chance.choice(names),
                round(self.chance.random(), 2),
                self.item() if self.chance.random() < ANCHORED else None,
            )
            for _ in range(many)
        ]

    def card(self) -> bytes:
        """Fold an item event with a title, a description, categories, a maker and a price."""
        shape = self.shape
        fields = [
            Field("title", self._words(shape.title_chars)),
            Field("description", self._words(shape.text_chars)),
            Field("categories", [self._name(8), self._name(8)]),
            Field("brand", self._name(9)),
            Field("price", round(self.chance.uniform(1, 200), 2)),
        ]
        event = Item(timestamp=Millis(NOW_MS), item=self.item(), fields=fields)
        card = fold_item(None, event, self.settings, partition=0, offset=10**5)
        return encode_card(msgspec.structs.replace(card, encoder=ENCODER))

    def statistics(self, level: float) -> tuple[bytes, bytes]:
        """Return the statistics of an item at this level: whole, and as readers get them."""
        chance, item = self.chance, self.item()
        followers = list({self.item() for _ in range(_at(level, self.shape.successors))} - {item})
        taken = min(ROWS, _at(level, self.shape.users * self.shape.history / self.shape.items))
        start = NOW_MS - int(self.shape.days * DAY_MS)
        times = sorted(chance.randrange(start, NOW_MS) for _ in range(taken))
        names = ["taken", *(["shown"] * 3), "clicked"]
        record = Activity(
            source=0,
            items=[item, *followers],
            followed=[0] * len(followers),
            follower=list(range(1, len(followers) + 1)),
            weight=[round(64 * 0.8 ** chance.randrange(8)) for _ in followers],
            follow_time=[chance.randrange(start, NOW_MS) for _ in followers],
            follow_offset=list(range(10**5, 10**5 + len(followers))),
            counted=[0] * taken,
            name=[names[0] if n % 2 else chance.choice(names) for n in range(taken)],
            count=[1] * taken,
            count_time=times,
            count_offset=list(range(10**6, 10**6 + taken)),
        )
        state = ItemState(as_of=AsOf(0, 10**5, NOW_MS), item=item)
        rows = (list(range(len(followers))), list(range(taken)))
        fold_rows(state, record, rows, self.settings.neighbours)
        public = msgspec.json.encode(view(state, self.settings.neighbours))
        return encode_item_state(state), public


def _at(level: float, mean: float) -> int:
    """Return a number at a level of those with this mean: many have few, few have many."""
    return round(-mean * math.log1p(-level))


def sample_values(shape: Shape, settings: Settings, *, many: int = 300, seed: int = 0) -> Values:
    """Make values of every kind that there is one of for each user or item.

    Parameters
    ----------
    shape
        What is usual.
    settings
        How much is remembered, and how long a list is.
    many
        Values of each kind.
    seed
        Of everything drawn.

    Returns
    -------
    Values
        By kind; content vectors are missing, which are all of one length.
    """
    maker = _Maker(shape, settings, seed)
    # One of each level, not drawn: the few that have much weigh most.
    levels = [(number + 0.5) / many for number in range(many)]
    sessions = [maker.session(level) for level in levels]
    statistics = [maker.statistics(level) for level in levels]
    by_kind = {
        "session": sessions,
        "recs": [maker.answer() for _ in range(many)],
        "item": [maker.card() for _ in range(many)],
        "itemstate": [whole for whole, _ in statistics],
        "neighbours": [public for _, public in statistics],
    }
    return Values(by_kind, maker.events, [one.value for one in maker.writer.drain()])
