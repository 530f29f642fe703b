"""An index laid out anew beside what asks it: what it answers before, meanwhile and after."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from features.card import AsOf, ItemCard
from features.catalogue import Catalogue
from models.beside import at_once, in_a_thread
from models.kept_index import KeptIndex
from models.near import NearIndex, nearest
from models.projection import Centred
from tests.models.test_nearby import DIM, crowd

F32 = NDArray[np.float32]
N = 4000
NOTHING = np.zeros(0, np.int64)


class Later:
    """Does what it was given when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Future[Any]]] = []

    def __call__(self, work: Callable[[], Any]) -> Future[Any]:
        coming: Future[Any] = Future()
        self.waiting.append((work, coming))
        return coming

    def do(self) -> None:
        work, coming = self.waiting.pop(0)
        coming.set_result(work())


def exact(vectors: F32, wanted: F32, k: int) -> list[list[int]]:
    found: list[list[int]] = np.argsort(-(wanted @ vectors.T), axis=1)[:, :k].tolist()
    return found


def recall(found: NDArray[np.int32], vectors: F32, wanted: F32) -> float:
    best = exact(vectors, wanted, found.shape[1])
    pairs = zip(found.tolist(), best, strict=True)
    return float(np.mean([len({*mine} & {*its}) / len(its) for mine, its in pairs]))


def test_all_rows_compared_are_those_of_the_largest_products() -> None:
    vectors, wanted = crowd(N), crowd(7, seed=1)
    assert nearest(vectors, wanted, 20).tolist() == exact(vectors, wanted, 20)
    assert nearest(vectors, wanted[:0], 20).shape == (0, 20)
    some = nearest(vectors[:5], wanted, 8)
    assert (some[:, 5:] == -1).all()
    assert some[:, :5].tolist() == exact(vectors[:5], wanted, 5)


def test_nobody_waits_for_the_first_index() -> None:
    later, vectors, wanted = Later(), crowd(N), crowd(7, seed=1)
    index = KeptIndex(later)
    assert index.find(vectors, wanted, 20).tolist() == exact(vectors, wanted, 20)
    assert index.coming
    index.find(vectors, wanted, 20)
    assert len(later.waiting) == 1
    later.do()
    found = index.find(vectors, wanted, 20)
    assert not index.coming
    assert found.tolist() == NearIndex(vectors).find(wanted, 20).tolist()
    assert later.waiting == []


def test_while_the_next_is_laid_out_both_are_kept_up() -> None:
    later, whole = Later(), crowd(2 * N + 300)
    index = KeptIndex(later)
    index.find(whole[:N], whole[:1], 1)
    later.do()
    index.find(whole[:N], whole[:1], 1)
    grown = whole[: 2 * N].copy()
    index.update(grown, NOTHING)
    assert index.find(grown, grown[2 * N - 1 :], 1)[0, 0] == 2 * N - 1
    assert index.coming
    now, asked = whole.copy(), np.array([3, N + 3, 2 * N - 1, *range(2 * N, 2 * N + 300)])
    now[asked[:3]] = crowd(3, seed=8)
    index.update(now, asked[:3])
    assert (index.find(now, now[asked], 1)[:, 0] == asked).mean() > 0.98
    later.do()
    assert index.find(now, now[asked], 1)[:, 0].tolist() == asked.tolist()
    assert not index.coming
    wanted = crowd(40, seed=5)
    assert recall(index.find(now, wanted, 50), now, wanted) > 0.98
    now[7] = crowd(1, seed=9)
    index.update(now, np.array([7]))
    assert index.find(now, now[7:8], 1).tolist() == [[7]]


def test_rows_written_while_it_is_laid_out_are_as_they_are_in_the_end() -> None:
    """The build takes what it finds, here the rows as they are after the change, or half of it."""
    later, vectors = Later(), crowd(N)
    index = KeptIndex(later)
    index.find(vectors, vectors[:1], 1)
    before = vectors[11].copy()
    vectors[11] = crowd(1, seed=4)
    index.update(vectors, np.array([11]))
    later.do()
    vectors[11] = before
    index.update(vectors, np.array([11]))
    assert index.find(vectors, before[None], 1).tolist() == [[11]]


def test_an_index_of_another_table_is_not_taken_over() -> None:
    later, vectors, other = Later(), crowd(N), crowd(N, seed=2)
    index = KeptIndex(later)
    index.find(vectors, vectors[:1], 1)
    index.drop()
    assert index.find(other, other[:3], 1)[:, 0].tolist() == [0, 1, 2]
    later.do()
    assert index.find(other, other[:3], 1)[:, 0].tolist() == [0, 1, 2]
    assert index.coming
    later.do()
    assert index.find(other, other[:3], 1)[:, 0].tolist() == [0, 1, 2]
    assert not index.coming


def test_at_once_it_is_there_before_anything_is_found() -> None:
    vectors, wanted = crowd(N), crowd(7, seed=1)
    index = KeptIndex(at_once)
    expected = NearIndex(vectors).find(wanted, 20).tolist()
    assert index.find(vectors, wanted, 20).tolist() == expected
    assert not index.coming


def test_what_is_done_in_a_thread_comes_or_fails_where_it_is_asked_for() -> None:
    go = threading.Event()
    coming = in_a_thread(lambda: go.wait(30) and threading.current_thread().name)
    assert not coming.done()
    go.set()
    assert coming.result(30) == "beside"

    def fail() -> None:
        raise MemoryError("too much")

    with pytest.raises(MemoryError, match="too much"):
        in_a_thread(fail).result(30)


def test_a_catalogue_that_grows_is_answered_while_its_index_is_laid_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.projection.LARGE", N)
    monkeypatch.setattr("models.projection.FOUND", 20)
    later, vectors = Later(), crowd(2 * N)
    catalogue = Catalogue(dim=DIM)
    cards = [ItemCard(AsOf(0, 0, 0), f"i{row}") for row in range(2 * N)]
    catalogue.apply(cards[:N], vectors[:N])
    centred = Centred(catalogue, beside=later)
    wanted = centred.vectors()[:5].copy()
    for size in (N, 2 * N):
        catalogue.apply(cards[:size], vectors[:size])
        found = centred.near(wanted)
        assert found is not None
        assert found[:, 0].tolist() == [0, 1, 2, 3, 4]
        assert len(later.waiting) == 1
        later.do()
        catalogue.apply(cards[size - 1 : size], -vectors[:1])
        there = centred.vectors()
        again = centred.near(there[[2, size - 1]])
        assert again is not None
        assert again[:, 0].tolist() == [2, size - 1]
        assert recall(again, there, there[[2, size - 1]]) > 0.9
