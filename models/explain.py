"""Reasons: which sources spoke for an item, how much, and which past item it follows from."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.card import AsOf
from features.contexts import Contexts
from models.answer import Answer, Listed, Reason
from models.engine import Chunk, Engine, Lists
from models.signals import CHANCE

__all__ = ["compose", "reasons_of"]

I32 = NDArray[np.int32]

REASONS: Final = 2
"""Reasons given for an item: the strongest."""

ANCHORS: Final = 10
"""Items of the history that an item may follow from."""

BY_TRANSITION: Final = ("neighbours", "last")
BY_CONTENT: Final = ("content", "taste")


def _anchors(engine: Engine, contexts: Contexts, item: I32) -> dict[str, I32]:
    """Return for each anchored source the history item behind each listed item: (B, n) rows."""
    past = np.where(contexts.weight > 0, contexts.items, -1)[:, :ANCHORS]
    vectors = engine.world.catalogue.vectors
    likeness = vectors[np.maximum(item, 0)] @ vectors[np.maximum(past, 0)].transpose(0, 2, 1)
    likeness[np.broadcast_to((past < 0)[:, None, :], likeness.shape)] = 0
    followers, weight = engine.world.stats.successors(past)
    moved = np.zeros_like(likeness)
    for place in range(past.shape[1]):
        match = followers[:, place, None, :] == item[:, :, None]
        moved[:, :, place] = np.where(match, weight[:, place, None, :], 0).max(axis=2)
    found = {}
    for names, strength in ((BY_TRANSITION, moved), (BY_CONTENT, likeness)):
        best = strength.argmax(axis=2)
        rows = np.take_along_axis(past, best, axis=1)
        rows[strength.max(axis=2) <= 0] = -1
        found.update(dict.fromkeys(names, rows.astype(np.int32)))
    return found


def reasons_of(engine: Engine, contexts: Contexts, lists: Lists) -> list[list[list[Reason]]]:
    """Return the strongest reasons for every item of every list.

    A share is a source's part of all that raised the item's score; what lowered
    it is left out, and so is what none of them knew.
    """
    names = [name for name in engine.signals.owners if name != CHANCE]
    kept = [engine.signals.owners.index(name) for name in names]
    part = np.maximum(lists.part[:, :, kept], 0)
    share = part / np.maximum(part.sum(axis=2, keepdims=True), 1e-9)
    best = np.argsort(-share, axis=2, kind="stable")[:, :, :REASONS]
    value = np.round(np.take_along_axis(share, best, axis=2).astype(np.float64), 3).tolist()
    anchors, ids = _anchors(engine, contexts, lists.item), engine.world.catalogue.ids
    anchored = {name: rows.tolist() for name, rows in anchors.items()}

    def reason(row: int, place: int, source: int, its_share: float) -> Reason:
        name = names[source]
        anchor = anchored[name][row][place] if name in anchored else -1
        return Reason(name, its_share, ids[anchor] if anchor >= 0 else None)

    return [
        [
            [reason(row, at, s, v) for s, v in zip(sources, values, strict=True) if v > 0]
            for at, (sources, values) in enumerate(zip(its_best, its_value, strict=True))
        ]
        for row, (its_best, its_value) in enumerate(zip(best.tolist(), value, strict=True))
    ]


def compose(
    engine: Engine, chunk: Chunk, users: list[tuple[str, AsOf]], model: str, now: int
) -> list[Answer]:
    """Return the finished answers of a chunk's users.

    Parameters
    ----------
    engine, chunk
        Who answers, and the questions seen by all sources.
    users
        Name and stamp of each question's user.
    model
        Version of the blend.
    now
        Epoch milliseconds to write into the answers.
    """
    lists = engine.finish(chunk)
    ids, contexts = engine.world.catalogue.ids, chunk.retrieval.contexts
    reasons = reasons_of(engine, contexts, lists)
    spoke = (chunk.retrieval.top[:, :, 0] >= 0).T.tolist()
    names = [source.name for source in engine.sources]
    chances, items = np.round(lists.chance, 6).tolist(), lists.item.tolist()
    return [
        Answer(
            as_of=as_of,
            user=user,
            items=[
                Listed(ids[item], chance, why)
                for item, chance, why in zip(items[row], chances[row], reasons[row], strict=True)
                if item >= 0
            ],
            model=model,
            sources=[name for name, spoken in zip(names, spoke[row], strict=True) if spoken],
            generated_at=now,
        )
        for row, (user, as_of) in enumerate(users)
    ]
