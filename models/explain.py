"""Reasons: which sources spoke for an item, how much, and which past item it follows from."""

from __future__ import annotations

from itertools import compress, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.card import AsOf
from models.answer import Answer, Listed, Reason
from models.engine import Chunk, Engine, Lists
from models.retrieval import View
from models.signals import CHANCE
from models.sources.neighbours import Neighbours

__all__ = ["compose", "reasons_of"]

I32 = NDArray[np.int32]
F64 = NDArray[np.float64]

REASONS: Final = 2
"""Reasons given for an item: the strongest."""

ANCHORS: Final = 10
"""Items of the history that an item may be like."""

SIGNIFICANT: Final = 4
DECIMALS: Final = 6
"""Digits of a chance, and of those after the point."""

BY_CONTENT: Final = ("content", "taste")


def _alike(engine: Engine, chunk: Chunk, item: I32) -> I32:
    """Return the history item whose text is most like each listed item's, -1 where none is."""
    contexts, listed = chunk.retrieval.contexts, chunk.listed
    past = np.where(contexts.weight[listed] > 0, contexts.items[listed], -1)[:, :ANCHORS]
    vectors = engine.near.vectors()
    likeness = vectors[np.maximum(item, 0)] @ vectors[np.maximum(past, 0)].transpose(0, 2, 1)
    likeness[np.broadcast_to((past < 0)[:, None, :], likeness.shape)] = 0
    rows = np.take_along_axis(past, likeness.argmax(axis=2), axis=1)
    rows[likeness.max(axis=2) <= 0] = -1
    return rows


def _anchors(engine: Engine, chunk: Chunk, item: I32, named: I32) -> I32:
    """Return the history item behind each reason, -1 where there is none.

    Parameters
    ----------
    engine, chunk, item
        Who answers, the questions, and (B, n) listed items.
    named
        (B, n, k) source of each reason, -1 for none.
    """
    anchor = np.full(named.shape, -1, dtype=np.int32)
    alike = _alike(engine, chunk, item)
    for number, source in enumerate(engine.sources):
        row, place, rank = np.nonzero(named == number)
        if isinstance(source, Neighbours):
            asked = (row + chunk.skip).astype(np.int32)
            origins = source.origins(chunk.retrieval.contexts, asked, item[row, place])
            anchor[row, place, rank] = origins
        elif source.name in BY_CONTENT:
            anchor[row, place, rank] = alike[row, place]
    return anchor


def reasons_of(engine: Engine, chunk: Chunk, lists: Lists, view: View) -> list[list[list[Reason]]]:
    """Return the strongest reasons for every item of every list that is to be explained.

    A share is a source's part of all that raised the item's score; what lowered
    it is left out, and so is what none of them knew. A source that does not
    know the item is no reason for it, though its silence may speak for the item.
    """
    names = [name for name in engine.signals.owners if name != CHANCE]
    kept = [engine.signals.owners.index(name) for name in names]
    part = np.maximum(lists.part[:, :, kept], 0)
    item = lists.item[:, : part.shape[1]]
    knows = view.score.T.reshape(*item.shape, len(view.score)) > 0
    sources = part[:, :, : knows.shape[2]]
    sources[~knows] = 0
    # Early on nothing has a weight that raises the score: who knows the item then shares alike.
    sources += knows & (part.sum(axis=2, keepdims=True) <= 0)
    share = part / np.maximum(part.sum(axis=2, keepdims=True), 1e-9)
    best = np.empty((*item.shape, REASONS), dtype=np.int32)
    value = np.empty(best.shape)
    for rank in range(REASONS):  # a sort would look at all of them, for the sake of two
        best[:, :, rank] = strongest = share.argmax(axis=2)
        value[:, :, rank] = np.take_along_axis(share, strongest[:, :, None], axis=2)[:, :, 0]
        np.put_along_axis(share, strongest[:, :, None], -1, axis=2)
    value = np.round(value, 2)
    best[(value <= 0) | (item < 0)[:, :, None]] = -1
    anchors = _anchors(engine, chunk, item, best)
    return _worded(best, value, anchors, names, engine.world.catalogue.ids)


def _worded(
    best: I32, value: NDArray[np.float64], anchors: I32, names: list[str], ids: list[str]
) -> list[list[list[Reason]]]:
    """Return (B, e, k) numbers of sources, shares and anchors as reasons; -1 is none."""
    there = best >= 0
    chosen = zip(best[there].tolist(), value[there].tolist(), anchors[there].tolist(), strict=True)
    flat = iter(
        [
            Reason(names[source], share, ids[anchor] if anchor >= 0 else None)
            for source, share, anchor in chosen
        ]
    )
    return [[list(islice(flat, many)) for many in counts] for counts in there.sum(axis=2).tolist()]


def _rounded(chance: F64) -> F64:
    """Return chances to 4 significant digits, and no finer than a millionth.

    Examples
    --------
    >>> _rounded(np.array([0.8762694, 0.0274537, 0.000345678])).tolist()
    [0.8763, 0.02745, 0.000346]
    """
    digits = SIGNIFICANT - 1 - np.floor(np.log10(np.maximum(chance, 10.0**-DECIMALS)))
    scale = 10 ** np.minimum(digits, DECIMALS)
    return np.asarray(np.round(chance * scale) / scale)


def compose(
    engine: Engine, chunk: Chunk, users: list[tuple[str, AsOf]], model: str, now: int
) -> list[Answer]:
    """Return the finished answers of a chunk's users.

    Parameters
    ----------
    engine, chunk
        Who answers, and the questions seen by all sources.
    users
        Name and stamp of the user of each question that gets a list.
    model
        Version of the blend.
    now
        Epoch milliseconds to write into the answers.
    """
    lists, view = engine.finish(chunk, engine.settings.recommend.explained)
    id_of = engine.world.catalogue.ids.__getitem__
    reasons = reasons_of(engine, chunk, lists, view)
    spoke = (chunk.retrieval.top[:, chunk.listed, 0] >= 0).T.tolist()
    names = [source.name for source in engine.sources]
    lengths = (lists.item >= 0).sum(axis=1).tolist()
    chances, items = _rounded(lists.chance).tolist(), lists.item.tolist()
    answers = []
    for row, (user, as_of) in enumerate(users):
        ids, scores = list(map(id_of, items[row][: lengths[row]])), chances[row]
        listed = list(map(Listed, ids, scores, reasons[row]))
        listed += map(Listed, ids[len(listed) :], scores[len(listed) :])
        sources = list(compress(names, spoke[row]))
        answers.append(Answer(as_of, user, listed, model, sources, now))
    return answers
