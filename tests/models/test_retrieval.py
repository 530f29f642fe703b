from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from features.contexts import build_contexts
from features.session import new_session
from models.retrieval import Pairs, Retrieval, retrieve
from models.sources.base import Given
from stream.settings import Settings
from tests.features.test_contexts import question

F32 = NDArray[np.float32]


class Fixed(Given):
    """A source with given scores."""

    def __init__(self, name: str, scores: F32) -> None:
        self.name, self._scores = name, scores

    def score(self, contexts: object) -> F32:
        return self._scores


def table(*rows: list[float]) -> F32:
    return np.array(rows, dtype=np.float32)


def asked(*scores: F32, blocked: list[list[bool]] | None = None, k: int = 2) -> Retrieval:
    n_rows, n_items = scores[0].shape
    contexts = build_contexts([question(new_session("u"))[0] for _ in range(n_rows)])
    sources = [Fixed(str(n), one) for n, one in enumerate(scores)]
    hidden = np.zeros((n_rows, n_items), bool) if blocked is None else np.array(blocked)
    return retrieve(sources, contexts, hidden, k)


def every(found: Retrieval) -> Pairs:
    row, item = np.indices(found.blocked.shape, dtype=np.int32)
    return Pairs(row.ravel(), item.ravel())


def ranks(found: Retrieval) -> NDArray[np.int16]:
    return found.ranks(every(found)).reshape(-1, *found.blocked.shape)


def test_each_source_proposes_its_best() -> None:
    found = asked(table([0, 3, 1, 2], [0, 0, 0, 1]), table([1, 0, 0, 0], [0, 0, 0, 0]))
    assert found.top.tolist() == [[[1, 3], [3, -1]], [[0, -1], [-1, -1]]]
    assert ranks(found)[0].tolist() == [[2, 0, 2, 1], [2, 2, 2, 0]]
    pairs = found.candidates()
    assert list(zip(pairs.row.tolist(), pairs.item.tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (0, 3),
        (1, 3),
    ]


def test_blocked_items_are_never_proposed() -> None:
    hidden = [[False, True, False], [False, False, False]]
    scores = table([1, 5, 2], [1, 5, 2])
    found = asked(scores, np.broadcast_to(scores[:1].copy(), (2, 3)), blocked=hidden)
    for source in range(2):
        assert found.top[source].tolist() == [[2, 0], [1, 2]]
        assert found.table(source)[0, 1] == -1
        assert found.scores(every(found))[source, 1] == 0
    pairs = found.candidates()
    assert not any(hidden[row][item] for row, item in zip(pairs.row, pairs.item, strict=True))
    assert (found.scores(pairs) > 0).any(axis=0).all()


def test_scores_shared_by_all_are_ranked_as_any_others() -> None:
    rng = np.random.default_rng(3)
    row = np.where(rng.random(200) < 0.5, rng.random(200), 0).astype(np.float32)[None]
    hidden = rng.random((6, 200)) < 0.4
    hidden[2] = True
    same = np.repeat(row, 6, axis=0)
    one = asked(np.broadcast_to(row, same.shape), blocked=hidden.tolist(), k=70)
    other = asked(same, blocked=hidden.tolist(), k=70)
    assert one.top.tolist() == other.top.tolist()
    assert ranks(one).tolist() == ranks(other).tolist()
    assert one.scores(every(one)).tolist() == other.scores(every(other)).tolist()
    assert (one.top[0, 2] == -1).all()


@pytest.mark.parametrize("k", [1, 5, 50])
def test_proposals_never_exceed_the_catalogue(k: int) -> None:
    found = asked(table([1, 2, 3]), k=k)
    assert found.top.shape == (1, 1, min(k, 3))


def test_every_rank_that_the_settings_allow_has_room() -> None:
    n, most = 1200, 1000
    assert Settings.model_validate({"sources": {"top": most}}).sources.top == most
    with pytest.raises(ValidationError):
        Settings.model_validate({"sources": {"top": most + 1}})
    found = asked(np.arange(1, n + 1, dtype=np.float32)[None], k=most)
    assert ranks(found)[0, 0].tolist() == [most] * (n - most) + list(range(most))[::-1]
