"""The plainest honest implementation: one event at a time, dicts, one Redis call per write.

It does what a short tutorial would do, and does it right: the user's history
is read, candidates come from item-to-item counts, from what is popular (in
all, and in the categories of the last items) and from the history itself; a
River model gives each one's chance; the best 50 are written. It has no
content vectors, no queries, no explanations, no diversity, and its counts are
in memory alone, so it does less than what it is compared with.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import redis
from river import linear_model, optim

from benchmarks.contender import Contender, Reader
from stream.events import BadRecord, Event, Interaction, decode, partition_key
from stream.settings import Settings

__all__ = ["Plain"]

HISTORY: Final = 20
CANDIDATES: Final = 50
"""That each source proposes."""

LIST: Final = 50
LEARNT: Final = 0.1
"""Share of what was taken that is learned from; to learn from all of it would take longer."""

NEGATIVES: Final = 30
"""Items that were not taken, for each one learned from that was."""

TOP_EVERY: Final = 100
"""Events between two looks through all items for the most popular ones."""

Counts = dict[str, float]
Features = dict[str, float]


class _Past(NamedTuple):
    """A history as the features look at it."""

    followers: list[Counts]
    taken: Counter[str]
    categories: Counter[str]
    length: int


class Plain(Contender):
    """Answers after every event.

    Parameters
    ----------
    settings
        All settings.
    reader
        Where events come from; None reads Kafka.
    categories
        Category of each item.
    silent
        For so many events only states and counts are kept: a quick warm-up.
    """

    def __init__(
        self,
        settings: Settings,
        categories: Mapping[str, str],
        silent: int = 0,
        reader: Reader | None = None,
    ) -> None:
        self.events = 0
        self._silent = silent
        self._prefix = settings.redis.prefix
        self._categories, self._items = categories, list(categories)
        self._redis: Any = redis.Redis.from_url(settings.redis.url.get_secret_value())
        self._reader = reader or Reader.of(settings)
        self._model = linear_model.LogisticRegression(optim.AdaGrad(0.1), intercept_lr=0.0)
        self._chance = random.Random(7)
        self._next: defaultdict[str, Counts] = defaultdict(dict)
        self._popular: Counts = {}
        self._by_category: defaultdict[str, Counts] = defaultdict(dict)
        self._top: list[str] = []

    def step(self) -> int:
        """Work off what one poll brings, one event after the other."""
        records = self._reader.poll(512)
        for record in records:
            event = decode(record.value)
            if not isinstance(event, BadRecord):
                self.handle(event)
        if records:
            self._reader.commit(records)
        return len(records)

    def handle(self, event: Event) -> None:
        """Take one event into account, and write the list of its user."""
        user = partition_key(event)
        raw = self._redis.get(f"{self._prefix}:plain:{user}")
        history: list[str] = msgspec.json.decode(raw) if raw else []
        if isinstance(event, Interaction):
            if self.events >= self._silent:
                self._learn(history, event.item)
            self._count(history, event.item)
            history = [*history, event.item][-HISTORY:]
            self._redis.set(f"{self._prefix}:plain:{user}", msgspec.json.encode(history), ex=86_400)
        if self.events >= self._silent:
            answer = msgspec.json.encode({"user": user, "items": self.recommend(history)})
            self._redis.set(f"{self._prefix}:1:recs:{user}", answer, ex=86_400)
            self.lists += 1
        self.events += 1

    def recommend(self, history: list[str]) -> list[dict[str, Any]]:
        """Return the best items after a history, each with its chance."""
        past = self._past(history)
        scored = []
        for item in self._candidates(history):
            chances = self._model.predict_proba_one(self._features(past, item))
            scored.append((chances[True], item))
        return [{"item": item, "score": score} for score, item in heapq.nlargest(LIST, scored)]

    def _count(self, history: list[str], item: str) -> None:
        for distance, before in enumerate(reversed(history[-10:])):
            if before != item:
                _add(self._next[before], item, 0.8**distance)
        _add(self._popular, item)
        _add(self._by_category[self._categories.get(item, "")], item)

    def _candidates(self, history: list[str]) -> list[str]:
        if self.events % TOP_EVERY == 0 or not self._top:
            self._top = _most(self._popular)
        found = dict.fromkeys([*self._top, *history])
        for item in dict.fromkeys(history[-10:]):
            found.update(dict.fromkeys(_most(self._next[item])))
        for category in {self._categories.get(item, "") for item in history[-3:]}:
            found.update(dict.fromkeys(_most(self._by_category[category])))
        return list(found)

    def _past(self, history: list[str]) -> _Past:
        return _Past(
            [self._next[item] for item in history[-10:]],
            Counter(history),
            Counter(self._categories.get(item, "") for item in history),
            len(history) or 1,
        )

    def _features(self, past: _Past, item: str) -> Features:
        followed = [counts.get(item, 0.0) for counts in past.followers]
        return {
            "bias": 1.0,
            "follows": sum(followed),
            "follows the last": followed[-1] if followed else 0.0,
            "popular": self._popular.get(item, 0.0) / max(1, self.events) * 100,
            "taken": float(past.taken[item]),
            "category": past.categories[self._categories.get(item, "")] / past.length,
        }

    def _learn(self, history: list[str], item: str) -> None:
        """Learn from a share of what was taken, each with its negatives."""
        if not self._items or self._chance.random() >= LEARNT:
            return
        past = self._past(history)
        self._model.learn_one(self._features(past, item), True)
        for other in self._chance.choices(self._items, k=NEGATIVES):
            self._model.learn_one(self._features(past, other), other == item)

    def close(self) -> None:
        """Leave the group and disconnect."""
        self._reader.close()
        self._redis.close()


def _add(counts: Counts, item: str, more: float = 1.0) -> None:
    counts[item] = counts.get(item, 0.0) + more


def _most(counts: Counts) -> list[str]:
    return heapq.nlargest(CANDIDATES, counts, key=counts.__getitem__)
