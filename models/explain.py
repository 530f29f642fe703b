"""Reasons: which sources spoke for an item, how much, and which past item it follows from."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.card import AsOf
from features.contexts import Contexts
from models.answer import Answer, Listed, Reason
from models.engine import Chunk, Engine, Lists
from models.retrieval import Retrieval, View
from models.signals import CHANCE
from models.sources.neighbours import Neighbours

__all__ = ["compose", "reasons_of"]

I32 = NDArray[np.int32]

REASONS: Final = 2
"""Reasons given for an item: the strongest."""

ANCHORS: Final = 10
"""Items of the history that an item may be like."""

BY_CONTENT: Final = ("content", "taste")


def _alike(engine: Engine, contexts: Contexts, item: I32) -> I32:
    """Return the history item whose text is most like each listed item's, -1 where none is."""
    past = np.where(contexts.weight > 0, contexts.items, -1)[:, :ANCHORS]
    vectors = engine.near.vectors()
    likeness = vectors[np.maximum(item, 0)] @ vectors[np.maximum(past, 0)].transpose(0, 2, 1)
    likeness[np.broadcast_to((past < 0)[:, None, :], likeness.shape)] = 0
    rows = np.take_along_axis(past, likeness.argmax(axis=2), axis=1)
    rows[likeness.max(axis=2) <= 0] = -1
    return rows


def _anchors(engine: Engine, contexts: Contexts, item: I32, named: I32) -> I32:
    """Return the history item behind each reason, -1 where there is none.

    Parameters
    ----------
    engine, contexts, item
        Who answers, the questions, and (B, n) listed items.
    named
        (B, n, k) source of each reason, -1 for none.
    """
    anchor = np.full(named.shape, -1, dtype=np.int32)
    alike = _alike(engine, contexts, item)
    for number, source in enumerate(engine.sources):
        row, place, rank = np.nonzero(named == number)
        if isinstance(source, Neighbours):
            anchor[row, place, rank] = source.origins(
                contexts, row.astype(np.int32), item[row, place]
            )
        elif source.name in BY_CONTENT:
            anchor[row, place, rank] = alike[row, place]
    return anchor


def reasons_of(
    engine: Engine, retrieval: Retrieval, lists: Lists, view: View
) -> list[list[list[Reason]]]:
    """Return the strongest reasons for every item of every list.

    A share is a source's part of all that raised the item's score; what lowered
    it is left out, and so is what none of them knew. A source that does not
    know the item is no reason for it, though its silence may speak for the item.
    """
    names = [name for name in engine.signals.owners if name != CHANCE]
    kept = [engine.signals.owners.index(name) for name in names]
    part = np.maximum(lists.part[:, :, kept], 0)
    knows = view.score.T.reshape(*lists.item.shape, len(view.score)) > 0
    sources = part[:, :, : knows.shape[2]]
    sources[~knows] = 0
    # Early on nothing has a weight that raises the score: who knows the item then shares alike.
    sources += knows & (part.sum(axis=2, keepdims=True) <= 0)
    share = part / np.maximum(part.sum(axis=2, keepdims=True), 1e-9)
    best = np.empty((*lists.item.shape, REASONS), dtype=np.int32)
    value = np.empty(best.shape)
    for rank in range(REASONS):  # a sort would look at all of them, for the sake of two
        best[:, :, rank] = strongest = share.argmax(axis=2)
        value[:, :, rank] = np.take_along_axis(share, strongest[:, :, None], axis=2)[:, :, 0]
        np.put_along_axis(share, strongest[:, :, None], -1, axis=2)
    value = np.round(value, 3)
    best[value <= 0] = -1
    anchors = _anchors(engine, retrieval.contexts, lists.item, best)
    return _worded(best, value, anchors, names, engine.world.catalogue.ids)


def _worded(
    best: I32, value: NDArray[np.float64], anchors: I32, names: list[str], ids: list[str]
) -> list[list[list[Reason]]]:
    """Return (B, n, k) numbers of sources, shares and anchors as reasons; -1 is none."""
    there = best >= 0
    chosen = zip(best[there].tolist(), value[there].tolist(), anchors[there].tolist(), strict=True)
    flat = [
        Reason(names[source], share, ids[anchor] if anchor >= 0 else None)
        for source, share, anchor in chosen
    ]
    end = np.cumsum(there.sum(axis=2).ravel())
    start = np.concatenate([[0], end[:-1]]) if len(end) else end
    bounds = zip(start.tolist(), end.tolist(), strict=True)
    reasons = [flat[first:last] for first, last in bounds]
    n_rows, n = best.shape[:2]
    return [reasons[row * n : (row + 1) * n] for row in range(n_rows)]


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
    lists, view = engine.finish(chunk)
    ids = engine.world.catalogue.ids
    reasons = reasons_of(engine, chunk.retrieval, lists, view)
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
