"""A shop whose items go together though their texts share no words, and encoders that learn it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.encoder_tuning import Lesson
from models.interactions import Interactions, recorder_for
from stream.encoder_settings import EncoderTuningSettings
from stream.events import Event
from stream.settings import Settings
from tests.builders import DAY, MINUTE, NOON, interaction, item, search

__all__ = ["CLUSTERS", "NAMES", "TEXTS", "WORDS", "goods", "quick", "recorded", "walks"]

MANY, CLUSTERS = 24, 4
NAMES = [f"i{n:02}" for n in range(MANY)]
WORDS = [f"w{n:02}{side}" for n in range(MANY) for side in "ab"] + ["extra", "query"]
TEXTS = [f"w{n:02}a w{n:02}b" for n in range(MANY)]
"""No word of one stands in another."""


def quick(**more: Any) -> dict[str, Any]:
    """Return settings of a run that takes a second."""
    fast = {"rank": 4, "alpha": 8, "epochs": 6, "patience": 6, "batch": 8, "learning_rate": 0.01}
    return {**fast, "max_tokens": 8, "holdout": 0.3, "popularity": 0.0} | more


def goods() -> list[Event]:
    """Return the items; every fourth belongs to one cluster."""
    return [item(name, NOON - DAY, title=text) for name, text in zip(NAMES, TEXTS, strict=True)]


def walks(users: int = 60, begin: int = NOON, seed: int = 3, each: int = 6) -> list[Event]:
    """Return what users do, in order: each takes six items of one cluster."""
    chance, events = random.Random(seed), list[Event]()
    for n in range(users):
        mine = chance.sample(range(n % CLUSTERS, MANY, CLUSTERS), each)
        at = begin + n * MINUTE
        events.append(search("query", at, f"user{n}"))
        events += [
            interaction(NAMES[row], at + 1000 + place * 60 * MINUTE, f"user{n}")
            for place, row in enumerate(mine)
        ]
    return sorted(events, key=lambda event: int(event.timestamp))


def recorded(events: Sequence[Event]) -> Interactions:
    """Return interactions over the items, by the row in :data:`NAMES`."""
    recorder = recorder_for(Settings(), NAMES.index)
    for event in events:
        recorder.add(event)
    return recorder.columns()


def a_lesson(vectors: Any, events: Sequence[Event] | None = None) -> Lesson:
    """Return what a run learns from."""
    return Lesson(recorded(walks() if events is None else events), TEXTS, np.asarray(vectors))


def tuning(**more: Any) -> EncoderTuningSettings:
    """Return the settings of :func:`quick`."""
    return EncoderTuningSettings.model_validate(quick(**more))


def home_of(folder: Path) -> dict[str, Any]:
    """Return the settings of an encoder in a folder, with a cache beside it."""
    return {"model": str(folder), "cache_dir": str(folder.parent / "cache"), "int8": False}
