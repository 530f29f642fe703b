"""Content vectors on a catalogue's main axes: what is kept, what is made anew, what they say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from features.card import AsOf, ItemCard
from features.catalogue import MAX_CHANGES, Catalogue
from features.content import Halves, SharedContent
from models.item_stats import ItemStats
from models.projection import AT_ONCE, ENOUGH, SAMPLE, Centred
from models.sources.base import World
from models.sources.content import Content
from tests.builders import NOON, folded, interaction
from tests.models.sources.shop import Words, contexts, table

F32 = NDArray[np.float32]
DIM, AXES, KEPT = 24, 4, 7.0
"""The content's dimensions, the axes, and a mark that no unit vector bears."""


def shelves(n: int, seed: int = 0, inner: F32 | None = None) -> F32:
    """Return unit vectors that have much in common and differ in a few directions alone.

    Parameters
    ----------
    n, seed
        How many, and of what chance.
    inner
        (n, AXES) weights of these directions; None draws them.
    """
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    directions, _ = np.linalg.qr(fixed.normal(size=(DIM, AXES + 1)))
    weights = rng.normal(size=(n, AXES)) if inner is None else inner
    weights = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    parts = np.concatenate([np.full((n, 1), 2.0), weights], axis=1) / np.sqrt(5)
    return np.asarray(parts @ directions.T, dtype=np.float32)


def put(catalogue: Catalogue, names: Sequence[str], vectors: F32) -> None:
    catalogue.apply([ItemCard(AsOf(0, 0, 0), name) for name in names], vectors)


def stocked(vectors: F32) -> Catalogue:
    catalogue = Catalogue(vectors.shape[1])
    put(catalogue, [f"i{k}" for k in range(len(vectors))], vectors)
    return catalogue


def fresh(catalogue: Catalogue, axes: int = AXES) -> F32:
    return Centred(catalogue, axes).vectors()


def by_hand(catalogue: Catalogue) -> F32:
    """Return the whole vectors without their mean, of length 1."""
    has = catalogue.has_vector
    moved = catalogue.vectors - catalogue.vectors[has].mean(axis=0)
    unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return np.where(has[:, None], unit, 0).astype(np.float32)


def mark(centred: Centred) -> None:
    """Mark every row; a mark goes where a row is made anew."""
    centred.vectors()[:] = KEPT


def made_anew(centred: Centred) -> list[int]:
    return np.flatnonzero((centred.vectors() != KEPT).any(axis=1)).tolist()


@pytest.mark.parametrize("axes", [0, DIM, DIM + 5])
def test_without_axes_or_with_too_many_vectors_are_as_long_as_they_were(axes: int) -> None:
    catalogue = stocked(shelves(200))
    catalogue.ensure("bare")
    found = fresh(catalogue, axes)
    assert found.shape == (201, DIM)
    assert found == pytest.approx(by_hand(catalogue), abs=1e-5)


def test_cosines_without_axes_are_those_of_whole_vectors_which_nobody_copies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = SharedContent(tmp_path, "shop", DIM, "encoder")
    catalogue = Catalogue(DIM, content=content)
    put(catalogue, [f"i{k}" for k in range(200)], shelves(200))
    catalogue.ensure("bare")
    whole, wanted = catalogue.vectors.copy(), shelves(3, seed=9)
    centred = Centred(catalogue)
    centred.vectors()
    monkeypatch.setattr(Halves, "__array__", None)
    assert centred.cosines(wanted, 5) == pytest.approx(wanted @ whole.T, abs=1e-5)
    content.clear("")


@pytest.mark.parametrize("seed", range(3))
def test_axes_that_hold_all_that_differs_keep_every_cosine(seed: int) -> None:
    catalogue = stocked(shelves(300, seed))
    catalogue.ensure("bare")
    found, whole = fresh(catalogue), by_hand(catalogue)
    assert found.shape == (301, AXES)
    assert found.dtype == np.float32
    assert found @ found.T == pytest.approx(whole @ whole.T, abs=1e-4)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1.0] * 300 + [0.0], abs=1e-5)


def test_axes_come_by_how_much_they_hold() -> None:
    spread = np.diag([1.0, 5.0, 3.0, 0.1, 2.0, 0.5]).astype(np.float32)
    vectors = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32) @ spread
    catalogue = stocked(vectors)
    whole = by_hand(catalogue)
    varied = fresh(catalogue, 3)
    alike = np.abs(np.corrcoef(varied.T, whole.T)[:3, 3:])
    assert alike.argmax(axis=1).tolist() == [1, 2, 4]


def test_few_items_have_no_axes_yet() -> None:
    catalogue = stocked(shelves(ENOUGH * AXES - 1))
    centred = Centred(catalogue, AXES)
    assert centred.vectors().shape == (ENOUGH * AXES - 1, DIM)
    assert fresh(stocked(shelves(ENOUGH * AXES))).shape == (ENOUGH * AXES, AXES)
    put(catalogue, [f"late{k}" for k in range(ENOUGH * AXES)], shelves(ENOUGH * AXES, 1))
    assert centred.vectors().shape == (2 * ENOUGH * AXES - 1, AXES)
    assert centred.vectors() == pytest.approx(fresh(catalogue), abs=1e-6)


def test_an_empty_catalogue_and_one_without_texts_have_vectors_of_nothing() -> None:
    catalogue = Catalogue(DIM)
    centred = Centred(catalogue, AXES)
    assert centred.vectors().shape == (0, DIM)
    catalogue.rows_of("abc")
    assert centred.vectors().tolist() == np.zeros((3, DIM)).tolist()
    put(catalogue, [f"i{k}" for k in range(40)], shelves(40))
    assert centred.vectors() == pytest.approx(fresh(catalogue), abs=1e-6)
    assert not centred.vectors()[:3].any()


def test_the_axes_of_many_items_are_those_of_a_sample_of_all_of_them() -> None:
    """The last half of the catalogue differs in other ways than the first."""
    n = max(2 * SAMPLE, AT_ONCE) + 100
    inner = np.random.default_rng(0).normal(size=(n, AXES)).astype(np.float32)
    inner[: n // 2, :2] = 0
    inner[n // 2 :, 2:] = 0
    vectors = shelves(n, inner=inner)
    catalogue = stocked(vectors)
    found, whole, some = fresh(catalogue), by_hand(catalogue), np.arange(0, n, 97)
    assert found.shape == (n, AXES)
    expected = whole[some] @ whole[some].T
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert found[some] @ found[some].T == pytest.approx(expected, abs=0.03)


def test_nothing_is_made_anew_where_nothing_changed() -> None:
    centred = Centred(catalogue := stocked(shelves(50)), AXES)
    mark(centred)
    assert made_anew(centred) == []
    catalogue.ensure("bare")
    assert made_anew(centred) == [50]
    assert not centred.vectors()[50].any()


def test_only_what_changed_is_made_anew() -> None:
    catalogue = stocked(shelves(50))
    centred = Centred(catalogue, AXES)
    before = centred.vectors().copy()
    mark(centred)
    other = shelves(3, 5)
    put(catalogue, ["i7", "new"], other[:2])
    catalogue.put_vectors(["i9", "unheard-of"], other[1:])
    put(catalogue, ["i11"], np.zeros((1, DIM), np.float32))
    put(catalogue, ["i13"], catalogue.vectors[[13]])
    assert made_anew(centred) == [7, 9, 11, 13, 50]
    found = centred.vectors()
    assert not found[11].any()
    assert found[13] == pytest.approx(before[13], abs=1e-6)
    assert found[9] == pytest.approx(found[50], abs=1e-6)  # of one text
    assert np.linalg.norm(found[[7, 9, 50]], axis=1) == pytest.approx(1, abs=1e-5)


def test_what_changed_is_seen_by_the_axes_that_were_taken() -> None:
    catalogue = stocked(shelves(50))
    centred = Centred(catalogue, AXES)
    before = centred.vectors().copy()
    put(catalogue, ["i7"], catalogue.vectors[[8]])
    found = centred.vectors()
    assert found[7] == pytest.approx(before[8], abs=1e-6)
    assert np.array_equal(np.delete(found, 7, axis=0), np.delete(before, 7, axis=0))


def test_more_changes_than_are_remembered_make_all_anew() -> None:
    catalogue = stocked(shelves(50))
    centred = Centred(catalogue, AXES)
    before = centred.vectors().copy()
    for changes in (MAX_CHANGES, MAX_CHANGES + 1):
        mark(centred)
        for _ in range(changes):
            put(catalogue, ["i3"], catalogue.vectors[[3]])
        assert made_anew(centred) == ([3] if changes == MAX_CHANGES else list(range(50)))
    assert centred.vectors() == pytest.approx(before, abs=1e-6)


def test_axes_are_taken_anew_when_a_quarter_has_come() -> None:
    catalogue = stocked(shelves(100))
    centred = Centred(catalogue, AXES)
    mark(centred)
    elsewhere = shelves(25, 3)[:, ::-1].copy()  # in other directions
    put(catalogue, [f"late{k}" for k in range(24)], elsewhere[:24])
    catalogue.rows_of(["bare", "barer"])  # without a vector they do not count
    assert made_anew(centred) == list(range(100, 126))
    assert np.linalg.norm(centred.vectors()[100:124], axis=1) == pytest.approx(1, abs=1e-5)
    assert centred.vectors()[100:124] != pytest.approx(fresh(catalogue)[100:124], abs=0.1)
    put(catalogue, ["bare"], elsewhere[24:])
    assert made_anew(centred) == list(range(126))
    assert centred.vectors() == pytest.approx(fresh(catalogue), abs=1e-6)


def test_another_encoder_makes_all_anew() -> None:
    catalogue = stocked(shelves(60))
    centred = Centred(catalogue, AXES)
    mark(centred)
    other = shelves(50, 8)[:, ::-1].copy()
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    catalogue.exchange([f"i{k}" for k in range(50)], other, "v2")
    assert made_anew(centred) == list(range(60))
    assert centred.vectors() == pytest.approx(fresh(catalogue), abs=1e-6)
    assert not centred.vectors()[50:].any()


def titles(topics: int = 40, kinds: int = 6, each: int = 8) -> F32:
    """Return texts of kinds of topics of one shop: (topics * kinds * each, 384)."""
    rng, n = np.random.default_rng(4), topics * kinds * each
    common, topic, kind, own = (
        rng.normal(size=(size, 384)) for size in (1, topics, topics * kinds, n)
    )
    of = np.arange(n) // each
    return (1.5 * common + topic[of // kinds] + 0.7 * kind[of] + 0.25 * own).astype(np.float32)


def test_content_on_the_main_axes_proposes_mostly_what_whole_vectors_do() -> None:
    catalogue = stocked(titles())
    place = World(catalogue, ItemStats(catalogue, served=3), Words(), 30.0)
    rng = np.random.default_rng(1)
    people = [
        folded([interaction(catalogue.ids[k], NOON - 9 + n) for n, k in enumerate(taken)])
        for taken in rng.integers(0, len(catalogue), (60, 3))
    ]
    asked = contexts(place, *people)
    tops = []
    for axes in (0, 64):
        source = Content(Centred(catalogue, axes), "content", window=5, decay=0.6)
        tops.append(np.argsort(-table(source, asked), axis=1, kind="stable")[:, :10].tolist())
    shared = [len({*one} & {*other}) for one, other in zip(*tops, strict=True)]
    assert np.mean(shared) > 8
    assert min(shared) > 5
