"""A little shop that the tests of the candidate sources share; its items are called by letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.card import AsOf, ItemCard
from features.catalogue import Catalogue
from features.contexts import Contexts, ask, build_contexts, meaning_of
from features.session import Session, new_session
from models.item_state import HALF_LIVES_MS, ItemView
from models.item_stats import ItemStats
from models.scores import Scores
from models.sources.base import Positive, Source, World
from stream.settings import Settings
from tests.builders import DAY, MINUTE, NOON, folded, interaction, unit

F32 = NDArray[np.float32]

SIGNED = meaning_of(Settings())
STRANGER = new_session("stranger")
HALF_LIFE_DAYS = 30.0
NOTHING: Mapping[str, float] = {}


class Words:
    """Encodes the few words that are searched for here."""

    known = {"tea": unit(1, 0), "hats": unit(3, 4)}

    def vectors(self, texts: Sequence[str]) -> F32:
        return np.array([self.known[text] for text in texts], np.float32)


def world(items: Iterable[str] = "") -> World:
    """Return a world whose catalogue has these items, of which nothing is known."""
    catalogue = Catalogue(dim=2)
    catalogue.rows_of(items)
    return World(catalogue, ItemStats(catalogue, served=3), Words(), HALF_LIFE_DAYS)


def put(
    place: World,
    item: str,
    *categories: str,
    vector: Sequence[float] = (0, 0),
    seen: int = 0,
) -> None:
    """Give an item a card."""
    card = ItemCard(AsOf(0, 0, 0), item, categories=list(categories), first_seen=seen)
    place.catalogue.apply([card], np.array([vector], np.float32))


def tell(
    place: World,
    item: str,
    following: Mapping[str, float] = NOTHING,
    *,
    counts: Mapping[str, float] = NOTHING,
    at: int = NOON,
) -> None:
    """Give an item statistics: what follows it, and its popularity by half-life as of a time."""
    popularity = dict.fromkeys(HALF_LIVES_MS, 0.0) | dict(counts)
    follows = sorted(following.items(), key=lambda pair: (-pair[1], pair[0]))
    place.stats.apply([ItemView(AsOf(0, 0, at), item, at, follows, popularity, 0, 0, 0)])


def visits(*taken: str, disliked: str = "") -> Session:
    """Return who took these items, a letter each, on so many days, the last one at noon."""
    events = []
    for back, items in enumerate(reversed(taken)):
        for ago, item in enumerate(reversed(items)):
            kind = "dislike" if item in disliked else "click"
            events.append(interaction(item, NOON - back * DAY - ago * MINUTE, type=kind))
    return folded(events[::-1])


def contexts(place: World, *people: Session, now: int = NOON, **more: Any) -> Contexts:
    """Return one question of each of these people."""
    return build_contexts([ask(one, now, place.catalogue, SIGNED, **more) for one in people])


def scored(source: Source, place: World, person: Session, **more: Any) -> dict[str, float]:
    """Return what a source gives one person, by item; what is 0 is left out."""
    return named(place, source.score(contexts(place, person, **more)))


def table(source: Source, asked: Contexts) -> F32:
    """Return what a source gives to each of these questions: (B, N)."""
    return spread(source.score(asked), len(asked))


def spread(scores: Scores, n_rows: int) -> F32:
    """Return scores as a table of all questions, also where they are the same to all: (B, N)."""
    given = scores.table()
    assert given.dtype == np.float32
    assert len(given) in (1, n_rows)
    return np.repeat(given, n_rows // len(given), axis=0)


def named(place: World, scores: Scores) -> dict[str, float]:
    """Return one person's scores by item; what is 0 is left out."""
    only = spread(scores, 1)
    assert only.shape == (1, len(place.catalogue))
    row = zip(place.catalogue.ids, only[0].tolist(), strict=True)
    return {item: score for item, score in row if score}


def took(place: World, item: str, before: str = "", exposed: str = "") -> Positive:
    """Return that an item was taken after others, latest first.

    ``exposed`` are items owned since a visit a week ago; it is a hit if the item is among them.
    """
    entries = [(place.catalogue.ensure(one), 1, 6.5, 1) for one in exposed]
    again = next((entry for entry in entries if place.catalogue.ids[entry[0]] == item), None)
    history = tuple(place.catalogue.ensure(one) for one in before)
    return Positive(place.catalogue.ensure(item), history, tuple(entries), again)
