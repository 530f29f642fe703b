from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from features.contexts import build_contexts
from features.session import new_session
from models.pairs import Pairs
from models.retrieval import Retrieval, View, retrieve
from models.scores import Blocked, Scores, Table
from models.sources.base import Given
from stream.settings import Settings
from tests.features.test_contexts import question
from tests.models import forms

F32 = NDArray[np.float32]


class Fixed(Given):
    """A source with given scores."""

    def __init__(self, name: str, scores: Scores) -> None:
        self.name, self._scores = name, scores

    def score(self, contexts: object) -> Scores:
        return self._scores


def table(*rows: list[float]) -> Table:
    return Table.of(np.array(rows, dtype=np.float32))


def asked(*scores: Scores, hidden: list[list[bool]] | None = None, k: int = 2) -> Retrieval:
    n_rows, n_items = max(one.table().shape for one in scores)
    if hidden is not None:
        n_rows = len(hidden)
    contexts = build_contexts([question(new_session("u"))[0] for _ in range(n_rows)])
    sources = [Fixed(str(n), one) for n, one in enumerate(scores)]
    shut = np.zeros((n_rows, n_items), bool) if hidden is None else np.array(hidden)
    row, item = np.nonzero(shut)
    alive = np.ones(n_items, bool)
    blocked = Blocked(alive, row.astype(np.int32), item.astype(np.int32), n_rows)
    return retrieve(sources, contexts, blocked, k)


def every(found: Retrieval) -> View:
    row, item = np.indices(found.blocked.shape, dtype=np.int32)
    return found.see(Pairs(row.ravel(), item.ravel()))


def ranks(found: Retrieval) -> NDArray[np.int16]:
    return every(found).rank.reshape(-1, *found.blocked.shape)


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


def test_candidates_of_some_questions_are_theirs_among_all() -> None:
    found = asked(table([0, 3, 1], [1, 0, 0], [0, 0, 0], [1, 2, 3]), table(*[[1.0, 0, 0]] * 4))
    pairs = found.candidates(np.array([1, 3], np.int32))
    assert list(zip(pairs.row.tolist(), pairs.item.tolist(), strict=True)) == [
        (1, 0),
        (3, 0),
        (3, 1),
        (3, 2),
    ]


def test_blocked_items_are_never_proposed() -> None:
    hidden = [[False, True, False], [False, False, False]]
    same = np.array([1, 5, 2], np.float32)
    scores = np.stack([same, same])
    found = asked(Table.of(scores.copy()), forms.alike(same), forms.sparse(scores), hidden=hidden)
    for source in range(3):
        assert found.top[source].tolist() == [[2, 0], [1, 2]]
        assert found.table(source)[0].tolist() == [1, -1, 2]
        assert found.table(source)[1].tolist() == [1, 5, 2]
        assert every(found).score[source].tolist() == [1, 0, 2, 1, 5, 2]
    pairs = found.candidates()
    assert not any(hidden[row][item] for row, item in zip(pairs.row, pairs.item, strict=True))
    assert (found.see(pairs).score > 0).any(axis=0).all()


def test_scores_in_any_form_are_ranked_alike() -> None:
    rng = np.random.default_rng(3)
    row = np.where(rng.random(200) < 0.5, rng.random(200), 0).astype(np.float32)
    hidden = rng.random((6, 200)) < 0.4
    hidden[2] = True
    same = np.repeat(row[None], 6, axis=0)
    other = asked(Table.of(same.copy()), hidden=hidden.tolist(), k=70)
    for form in (forms.alike(row), forms.sparse(same)):
        one = asked(form, hidden=hidden.tolist(), k=70)
        assert one.top.tolist() == other.top.tolist()
        assert ranks(one).tolist() == ranks(other).tolist()
        assert every(one).score.tolist() == every(other).score.tolist()
        assert every(one).lift == pytest.approx(every(other).lift, rel=1e-6)
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
    found = asked(Table.of(np.arange(1, n + 1, dtype=np.float32)[None]), k=most)
    assert ranks(found)[0, 0].tolist() == [most] * (n - most) + list(range(most))[::-1]


def some(rng: np.random.Generator, n_rows: int, n_items: int) -> list[Scores]:
    """Return scores of all forms, and of a source that says nothing to anybody."""
    shape = (n_rows, n_items)
    full = rng.random(shape, dtype=np.float32)
    full[0] = 0  # to the first question it says nothing
    few = np.where(rng.random(shape) < 0.2, full, 0).astype(np.float32)
    return [
        Table.of(full),
        forms.sparse(few),
        forms.alike(full[1].copy()),
        forms.sparse(np.zeros_like(full)),
    ]


def by_hand(found: Retrieval, tables: list[F32], pairs: Pairs) -> list[list[list[float]]]:
    """Return score, rank and lift of each source and pair, one after the other."""
    hidden, k = found.blocked.table(), found.top.shape[2]
    said: list[list[list[float]]] = [[], [], []]
    for table, top in zip(tables, found.top.tolist(), strict=True):
        scores, ranks, lifts = [], [], []
        for row, item in zip(pairs.row.tolist(), pairs.item.tolist(), strict=True):
            score = 0.0 if hidden[row, item] else float(table[row, item])
            mean = float(table[row].astype(np.float64).mean())
            scores.append(score)
            ranks.append(top[row].index(item) if item in top[row] else k)
            lifts.append(score / mean if mean else 0.0)
        for kept, column in zip(said, (scores, ranks, lifts), strict=True):
            kept.append(column)
    return said


@pytest.mark.parametrize("seed", range(5))
def test_all_that_is_seen_of_pairs_equals_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_rows, n_items, k = 7, 30, 5
    scores = some(rng, n_rows, n_items)
    tables = [np.broadcast_to(one.table(), (n_rows, n_items)).copy() for one in scores]
    found = asked(*scores, hidden=(rng.random((n_rows, n_items)) < 0.3).tolist(), k=k)
    # in no order, and many of them more than once
    pairs = Pairs(
        rng.integers(0, n_rows, 300).astype(np.int32),
        rng.integers(0, n_items, 300).astype(np.int32),
    )
    view = found.see(pairs)
    score, rank, lift = by_hand(found, tables, pairs)
    assert view.score.tolist() == score
    assert view.rank.tolist() == rank
    assert view.lift == pytest.approx(np.array(lift), rel=1e-6)
    assert {view.score.dtype.name, view.lift.dtype.name} == {"float32"}
    assert (found.mean[:, 0] > 0).tolist() == [False, False, True, False]


def test_a_pair_that_is_asked_about_twice_is_answered_twice() -> None:
    scores = np.array([[0, 3, 1], [2, 0, 0]], np.float32)
    found = asked(Table.of(scores.copy()), forms.sparse(scores), forms.alike(scores[0].copy()))
    pairs = Pairs(np.array([0, 0, 0, 1, 1], np.int32), np.array([1, 2, 1, 0, 0], np.int32))
    view = found.see(pairs)
    assert found.lift(pairs).tolist() == view.lift.tolist()
    assert view.score[0].tolist() == view.score[1].tolist() == [3, 1, 3, 2, 2]
    assert view.score[2].tolist() == [3, 1, 3, 0, 0]
    assert view.rank.tolist() == [[0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 0, 2, 2]]
    assert view.lift[0].tolist() == [2.25, 0.75, 2.25, 3, 3]


def test_part_of_a_view_is_the_view_of_these_pairs() -> None:
    rng = np.random.default_rng(0)
    found = asked(*some(rng, 4, 9), k=3)
    whole, places = every(found), np.array([7, 30, 7, 0])
    part = whole.take(places)
    alone = found.see(Pairs(whole.pairs.row[places], whole.pairs.item[places]))
    for name in ("score", "rank", "lift"):
        assert getattr(part, name).tolist() == getattr(alone, name).tolist()
    assert part.pairs.item.tolist() == alone.pairs.item.tolist() == [7, 3, 7, 0]
    assert part.slots.find(part.pairs.row, part.pairs.item).tolist() == part.place.tolist()


def test_of_no_pairs_nothing_is_seen() -> None:
    found = asked(*some(np.random.default_rng(0), 3, 5))
    none = np.zeros(0, np.int32)
    view = found.see(Pairs(none, none))
    assert view.score.shape == view.rank.shape == view.lift.shape == (4, 0)
