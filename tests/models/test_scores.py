"""The three forms of scores, against a loop over a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.pairs import Pairs, Slots
from models.scores import Blocked, Scores, Sparse, Table, silence
from tests.models import forms

F32 = NDArray[np.float32]
Entries = list[tuple[int, int]]

values = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5]), st.floats(0, 1, width=32, allow_subnormal=False)
)
many = settings(deadline=None, max_examples=150)


@dataclass
class Case:
    """Scores, what is blocked, and some pairs; all of it by plain means."""

    scores: F32
    alive: list[bool]
    hidden: Entries
    pairs: Entries

    @property
    def n_rows(self) -> int:
        return len(self.scores)

    @property
    def n_items(self) -> int:
        return int(self.scores.shape[1])

    def blocked(self) -> Blocked:
        table = np.array(self.hidden, dtype=np.int32).reshape(-1, 2)
        return Blocked(np.array(self.alive), table[:, 0], table[:, 1], self.n_rows)

    def may_not(self, row: int, item: int) -> bool:
        return not self.alive[item] or (row, item) in self.hidden

    def slots(self) -> Slots:
        table = np.array(self.pairs, dtype=np.int32).reshape(-1, 2)
        return Slots(Pairs(table[:, 0], table[:, 1]), self.n_rows, self.n_items)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n_rows, n_items = draw(st.integers(1, 4)), draw(st.integers(1, 25))
    scores = draw(arrays(np.float32, (n_rows, n_items), elements=values, fill=st.just(0.0)))
    pair = st.tuples(st.integers(0, n_rows - 1), st.integers(0, n_items - 1))
    # some stand there twice, or are of items that nobody may see
    hidden = draw(st.one_of(st.just([]), st.lists(pair, max_size=30)))
    alive = draw(st.lists(st.booleans(), min_size=n_items, max_size=n_items))
    if draw(st.booleans()):
        alive = [True] * n_items
    return Case(scores, alive, hidden, draw(st.lists(pair, unique=True)))


def best(case: Case, table: F32, k: int) -> list[list[int]]:
    """Return the k best that each question may see, by a loop."""
    found = []
    for row, its in enumerate(table.tolist()):
        seen = [i for i, score in enumerate(its) if score > 0 and not case.may_not(row, i)]
        top = sorted(seen, key=lambda i: (-its[i], i))[:k]
        found.append(top + [-1] * (k - len(top)))
    return found


def check(case: Case, table: F32, scores: Scores, k: int) -> None:
    """See that scores say what a table of them (B, N) says."""
    shape = (case.n_rows, case.n_items)
    mean = scores.mean()
    assert mean.dtype == np.float32
    exact = table.astype(np.float64).mean(axis=1)
    assert np.broadcast_to(mean, shape[:1]) == pytest.approx(exact, rel=1e-6)
    whole = scores.table()
    assert whole.dtype == np.float32
    assert np.broadcast_to(whole, shape).tolist() == table.tolist()
    top = scores.top(case.blocked(), k)
    assert top.shape == (case.n_rows, k)
    assert top.tolist() == best(case, table, k)
    at = scores.at(case.slots())
    assert at.shape == (len(case.pairs),)
    assert at.dtype == np.float32
    for (row, item), score in zip(case.pairs, at.tolist(), strict=True):
        if not case.may_not(row, item):
            assert score == table[row, item]
    after = np.broadcast_to(scores.table(), shape)
    seen = ~case.blocked().table()
    assert after[seen].tolist() == table[seen].tolist()
    assert np.array_equal(scores.mean(), mean)


lengths = st.one_of(st.integers(1, 3), st.integers(1, 30))


@many
@given(cases(), lengths)
def test_a_table_equals_a_loop(case: Case, k: int) -> None:
    check(case, case.scores, Table.of(case.scores.copy()), k)


@many
@given(cases(), lengths)
def test_sparse_scores_equal_a_loop(case: Case, k: int) -> None:
    check(case, case.scores, forms.sparse(case.scores), k)


@many
@given(cases(), lengths)
def test_a_row_equals_a_loop(case: Case, k: int) -> None:
    row = case.scores[0].copy()
    check(case, np.broadcast_to(row, case.scores.shape), forms.alike(row), k)
    assert forms.alike(row).table().shape == (1, case.n_items)
    assert forms.alike(row).mean().shape == (1,)


@many
@given(cases(), st.integers(1, 30))
def test_part_of_the_items_equals_a_loop(case: Case, k: int) -> None:
    scores = case.scores.copy()
    scores[:, ::3] = 0
    check(case, scores, forms.part(scores), k)


@many
@given(cases(), lengths)
def test_silence_says_nothing(case: Case, k: int) -> None:
    check(case, np.zeros_like(case.scores), silence(case.n_rows, case.n_items), k)


@many
@given(cases())
def test_what_is_blocked_equals_a_set(case: Case) -> None:
    blocked = case.blocked()
    expected = [
        [case.may_not(row, item) for item in range(case.n_items)] for row in range(case.n_rows)
    ]
    assert blocked.shape == (case.n_rows, case.n_items)
    assert blocked.table().tolist() == expected
    row, item = np.indices(blocked.shape).reshape(2, -1)
    assert blocked.of(row, item).tolist() == sum(expected, [])
    assert blocked.of(row[::3], item[::3]).tolist() == sum(expected, [])[::3]
    assert blocked.any == any(map(any, expected))
    assert blocked.dead.tolist() == [i for i, alive in enumerate(case.alive) if not alive]


entries = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 40).map(lambda n: n / 4)),
    max_size=60,
)


@many
@given(entries)
def test_sparse_entries_of_one_pair_are_summed(given: list[tuple[int, int, float]]) -> None:
    table = np.array(sorted(given), dtype=np.float64).reshape(-1, 3)
    row, item = table[:, :2].astype(np.int32).T
    found = Sparse.of(row, item, table[:, 2], (4, 10))
    expected = np.zeros((4, 10))
    for its_row, its_item, value in given:
        expected[its_row, its_item] += value
    assert found.table().tolist() == expected.tolist()
    assert len(found.item) == np.count_nonzero(expected)  # each once
    rows = np.nonzero(expected)[0]
    assert found.rows().tolist() == rows.tolist()
    assert found.start.tolist() == [int((rows < n).sum()) for n in range(5)]


@pytest.mark.parametrize("dead", [0, 4, 9])
@pytest.mark.parametrize("hidden", [0, 5, 9])
def test_behind_the_best_that_one_may_not_see_come_the_next(dead: int, hidden: int) -> None:
    row = np.arange(20, 0, -1, dtype=np.float32)
    table = np.stack([row, row])
    shut = [(1, dead + item) for item in range(hidden)]
    case = Case(table, [item >= dead for item in range(20)], shut, [])
    first = dead + hidden
    expected = [[dead, dead + 1], [first, first + 1]]
    assert best(case, table, 2) == expected
    every = (forms.alike(row), Table.of(table.copy()), forms.sparse(table), forms.part(table))
    for scores in every:
        assert scores.top(case.blocked(), 2).tolist() == expected


def test_scores_may_be_written_over_while_the_mean_stays() -> None:
    scores = Table.of(np.array([[1, 2, 3]], np.float32))
    hide = Blocked(np.array([True, True, False]), np.zeros(1, np.int32), np.ones(1, np.int32), 1)
    assert scores.top(hide, 2).tolist() == [[0, -1]]
    assert scores.mean().tolist() == [2]


@pytest.mark.parametrize("n_items", [2999, 3000, 3050])
def test_long_rows_equal_a_loop_in_every_form(n_items: int) -> None:
    """From some length on a row is not sorted whole."""
    rng = np.random.default_rng(1)
    table = np.round(rng.random((3, n_items)), 3).astype(np.float32)
    table[rng.random(table.shape) < 0.3] = 0
    hidden = [(int(row), int(item)) for row in range(3) for item in rng.integers(0, n_items, 99)]
    alive = (rng.random(n_items) < 0.9).tolist()
    case = Case(table, alive, hidden, [(0, 0), (2, n_items - 1)])
    row = table[1].copy()
    for k in (1, 50):
        check(case, table, Table.of(table.copy()), k)
        check(case, table, forms.sparse(table), k)
        check(case, table, forms.part(table), k)
        check(case, np.broadcast_to(row, table.shape), forms.alike(row), k)


def test_what_nobody_may_see_is_left_out_before_the_best_are_looked_for() -> None:
    many = np.arange(1, 4001, dtype=np.float32)
    alive = np.zeros(4000, dtype=np.bool_)
    alive[:3] = True  # all that scores more is withdrawn
    blocked = Blocked(alive, np.zeros(1, np.int32), np.full(1, 2, np.int32), 2)
    assert forms.alike(many).top(blocked, 2).tolist() == [[1, 0], [2, 1]]
    nobody = Blocked(np.zeros(4000, np.bool_), np.zeros(0, np.int32), np.zeros(0, np.int32), 2)
    assert forms.alike(many).top(nobody, 2).tolist() == [[-1, -1], [-1, -1]]


def test_a_row_that_is_asked_again_takes_note_of_what_is_blocked_since() -> None:
    row = forms.alike(np.array([5, 4, 3, 2, 1], np.float32))
    nobody, none = np.zeros(0, np.int32), np.ones(5, bool)
    assert row.top(Blocked(none, nobody, nobody, 1), 2).tolist() == [[0, 1]]
    one = Blocked(none, np.array([1, 1, 1]), np.array([0, 1, 3]), 2)
    assert row.top(one, 2).tolist() == [[0, 1], [2, 4]]
    gone = np.array([True, False, True, True, True])
    assert row.top(Blocked(gone, nobody, nobody, 1), 3).tolist() == [[0, 2, 3]]
    assert row.top(Blocked(none, nobody, nobody, 1), 9).tolist() == [[0, 1, 2, 3, 4, *[-1] * 4]]
    assert row.top(Blocked(none, nobody, nobody, 1), 1).tolist() == [[0]]
