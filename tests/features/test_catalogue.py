from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.card import AsOf, ItemCard, encode_card
from features.catalogue import MAX_CATEGORIES, MAX_CHANGES, Catalogue
from features.columns import Column, Rows
from features.reader import StoreReader
from features.vectors import to_bytes
from stream.store import Store
from stream.writes import Plain

DIM = 4


def card(item: str, **values: Any) -> ItemCard:
    return ItemCard(AsOf(0, 0, 0), item, **values)


def unit(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.array(values, np.float32)
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)


words = st.sampled_from(["a", "b", "c", "d", "e", "f"])
cards = st.builds(
    card,
    item=st.sampled_from([f"i{n}" for n in range(8)]),
    title=words,
    categories=st.lists(words, max_size=6, unique=True),
    brand=st.one_of(st.just(""), words),
    price=st.one_of(st.none(), st.floats(0, 1e6)),
    numbers=st.dictionaries(words, st.floats(-1e300, 1e300), max_size=3),
    lists=st.dictionaries(words, st.lists(words, max_size=3, unique=True), max_size=3),
    first_seen=st.integers(0, 10**13),
    withdrawn=st.booleans(),
)
vectors = st.sampled_from([unit(1, 0, 0, 0), unit(1, 2, 3, 4), np.zeros(DIM, np.float32)])
mentions = st.sampled_from([f"i{n}" for n in range(12)])
steps = st.lists(st.one_of(mentions, st.lists(st.tuples(cards, vectors), max_size=4)), max_size=12)


@dataclasses.dataclass
class Model:
    """The same in plain dicts."""

    order: list[str] = dataclasses.field(default_factory=list)
    cards: dict[str, tuple[ItemCard, Any]] = dataclasses.field(default_factory=dict)

    def mention(self, item: str) -> None:
        if item not in self.order:
            self.order.append(item)


def check(catalogue: Catalogue, model: Model) -> None:
    assert catalogue.ids == model.order
    assert catalogue.index == {item: row for row, item in enumerate(model.order)}
    for row, item in enumerate(model.order):
        known, vector = model.cards.get(item, (None, np.zeros(DIM)))
        assert catalogue.known[row] == (known is not None)
        assert np.allclose(catalogue.vectors[row], vector, atol=1e-6)
        assert catalogue.has_vector[row] == bool(np.any(vector))
        check_row(catalogue, row, known or card(item))
    assert catalogue.described == catalogue.has_vector.sum()


def check_row(catalogue: Catalogue, row: int, expected: ItemCard) -> None:
    assert catalogue.alive[row] == (not expected.withdrawn)
    assert catalogue.first_seen[row] == expected.first_seen
    names = [catalogue.category_names[n] for n in catalogue.category[row] if n >= 0]
    assert names == expected.categories[:MAX_CATEGORIES]
    brand = catalogue.brand[row]
    assert ("" if brand < 0 else catalogue.brand_names[brand]) == expected.brand
    price = np.nan if expected.price is None else np.log1p(expected.price)
    assert np.isclose(catalogue.log_price[row], price, rtol=1e-5, equal_nan=True)
    for name, column in catalogue.numbers.items():
        value = expected.numbers.get(name, np.nan)
        value = np.clip(value, -3.4028e38, 3.4028e38)
        assert np.isclose(column[row], value, rtol=1e-4, equal_nan=True)
    assert set(expected.numbers) <= set(catalogue.numbers)
    _, tokens = catalogue.tokens.gather(np.array([row]))
    assert [catalogue.token_names[token] for token in tokens] == [
        (name, value) for name, its in expected.lists.items() for value in its
    ]


@settings(deadline=None, max_examples=60)
@given(steps)
def test_any_sequence_equals_plain_dicts(sequence: list[Any]) -> None:
    catalogue, model = Catalogue(DIM), Model()
    for step in sequence:
        if isinstance(step, str):
            model.mention(step)
            assert catalogue.ensure(step) == model.order.index(step)
            continue
        rows = catalogue.apply(
            [c for c, _ in step], np.array([v for _, v in step]).reshape(-1, DIM)
        )
        for known, vector in step:
            model.mention(known.item)
            model.cards[known.item] = (known, vector)
        assert [catalogue.ids[row] for row in rows] == [known.item for known, _ in step]
    check(catalogue, model)


some = st.dictionaries(st.sampled_from([f"i{n}" for n in range(8)]), vectors, max_size=4)
doings = st.lists(
    st.tuples(st.sampled_from(["apply", "apply", "put_vectors", "exchange", "ensure"]), some),
    max_size=12,
)


def do(catalogue: Catalogue, doing: str, its: dict[str, Any]) -> set[int]:
    """Do one thing to a catalogue; return the rows whose item is another one then."""
    content = np.array(list(its.values())).reshape(-1, DIM)
    if doing == "apply":
        return set(catalogue.apply([card(item) for item in its], content).tolist())
    if doing == "put_vectors":
        there = [item for item in its if item in catalogue.index]
        catalogue.put_vectors(list(its), content)
        return {catalogue.index[item] for item in there}
    if doing == "exchange":
        catalogue.exchange(list(its), content, "v2")
        return set(range(len(catalogue)))
    for item in its:
        catalogue.ensure(item)
    return set()


@settings(deadline=None, max_examples=100)
@given(doings)
def test_what_has_changed_since_a_version_is_remembered(doings: list[Any]) -> None:
    catalogue, since, exchanged = Catalogue(DIM), {0: set[int]()}, 0
    for doing, its in doings:
        before = catalogue.version
        rows = do(catalogue, doing, its)
        assert (catalogue.version > before) == (doing != "ensure")
        if doing == "exchange":
            since, exchanged = {}, exchanged + 1  # all of it: that is not told row by row
            assert catalogue.changed(before) is None
        for changed in since.values():
            changed.update(rows)
        since.setdefault(catalogue.version, set())
        assert catalogue.described == catalogue.has_vector.sum()
    assert catalogue.exchanged == exchanged
    for version, expected in since.items():
        found = catalogue.changed(version)
        assert found is not None
        assert found.tolist() == sorted(expected)


def test_so_many_changes_are_remembered_and_no_more() -> None:
    catalogue = Catalogue(DIM)
    for n in range(MAX_CHANGES):
        catalogue.apply([card(f"i{n}")], unit(1, 0, 0, 0)[None])
    everything = catalogue.changed(0)
    assert everything is not None
    assert everything.tolist() == list(range(MAX_CHANGES))
    catalogue.apply([card("one more")], unit(1, 0, 0, 0)[None])
    assert catalogue.changed(0) is None
    latest = catalogue.changed(1)
    assert latest is not None
    assert latest.tolist() == list(range(1, MAX_CHANGES + 1))


def test_an_item_that_loses_its_vector_is_described_no_longer() -> None:
    catalogue, there, none = Catalogue(DIM), unit(1, 2, 0, 0)[None], np.zeros((1, DIM), np.float32)
    catalogue.apply([card("a"), card("b")], np.repeat(there, 2, axis=0))
    catalogue.apply([card("a"), card("a")], np.concatenate([none, there]))
    assert catalogue.described == 2
    catalogue.apply([card("a")], none)
    assert catalogue.described == 1
    catalogue.exchange(["a", "c"], np.repeat(there, 2, axis=0), "v2")
    assert (catalogue.described, catalogue.has_vector.tolist()) == (2, [True, False, True])
    catalogue.put_vectors(["c", "unheard-of"], np.concatenate([none, there]))
    assert (catalogue.described, catalogue.has_vector.tolist()) == (1, [True, False, False])


def test_growth_disturbs_nothing() -> None:
    catalogue = Catalogue(DIM)
    first = catalogue.apply(
        [card("x", numbers={"size": 2.0}, lists={"tags": ["red"]}, categories=["mugs"])],
        unit(1, 1, 0, 0)[None],
    )
    for n in range(5000):
        assert catalogue.ensure(f"i{n}") == n + 1
    assert first.tolist() == [0]
    assert len(catalogue) == len(catalogue.alive) == len(catalogue.vectors) == 5001
    assert catalogue.numbers["size"][0] == 2.0
    assert np.isnan(catalogue.numbers["size"][1:]).all()
    assert (catalogue.category[1:] == -1).all()
    assert not catalogue.has_vector[1:].any()
    assert catalogue.tokens.counts.sum() == 1


def test_vectors_must_fit() -> None:
    with pytest.raises(ValueError, match="for 1 cards of 4"):
        Catalogue(DIM).apply([card("x")], np.zeros((1, 3), np.float32))


def test_own_vector_gives_an_item_without_text_a_place() -> None:
    catalogue = Catalogue(DIM)
    catalogue.apply([card("x", vectors={"image": [0.6, 0.8]})], np.zeros((1, DIM), np.float32))
    assert catalogue.has_vector[0]
    np.testing.assert_allclose(np.linalg.norm(catalogue.vectors[0]), 1, atol=1e-5)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 20), st.lists(st.integers(0, 9), max_size=200))))
def test_rows_equal_a_dict(puts: list[dict[int, list[int]]]) -> None:
    rows, model = Rows(), dict[int, list[int]]()
    rows.grow(21)
    most = 0
    for some in puts:
        rows.put(list(some.values()), np.array(list(some), dtype=np.int64))
        model |= some
        most = max(most, sum(map(len, some.values())))
    positions, numbers = rows.gather(np.arange(21))
    for row in range(21):
        assert numbers[positions == row].tolist() == model.get(row, [])
    assert len(rows._pool.rows) <= 2 * sum(map(len, model.values())) + 1024 + most


def test_column_keeps_what_it_held() -> None:
    column = Column(np.int32, fill=-1, width=2)
    column.grow(1)
    column.rows[0] = 5
    column.grow(3000)
    assert column.rows.tolist() == [[5, 5]] + [[-1, -1]] * 2999
    column.grow(2)
    assert len(column.rows) == 3000


def put(store: Store, item: str, vector: Any = None, **values: Any) -> None:
    mark = f"hash-{item}" if vector is not None else ""
    raw = encode_card(card(item, text_hash=mark, **values))
    plain = [Plain(store.keys.item(item), raw, 60_000)]
    if vector is not None:
        plain.append(Plain(store.keys.vector("v1", mark), to_bytes(vector), 60_000))
    store.write_plain(plain)


def brands(catalogue: Catalogue) -> list[str]:
    return ["" if at < 0 else catalogue.brand_names[at] for at in catalogue.brand]


def test_loads_in_the_order_of_ids_and_refreshes(store: Store) -> None:
    put(store, "b", unit(1, 0, 0, 0), brand="B")
    put(store, "a", brand="A")
    put(store, "c", unit(0, 1, 0, 0), withdrawn=True)
    store.write_plain([Plain(store.keys.item("d"), b"no card", 60_000)])
    catalogue, told = Catalogue(DIM), list[tuple[int, int]]()
    reader = StoreReader(store, store.keys, version="v1", dim=DIM)
    assert catalogue.load(reader, lambda done, total: told.append((done, total))) == 3
    assert catalogue.ids == ["a", "b", "c"]
    assert brands(catalogue) == ["A", "B", ""]
    assert catalogue.has_vector.tolist() == [False, True, True]
    assert catalogue.alive.tolist() == [True, True, False]
    assert told == [(3, 4)]

    put(store, "a", unit(0, 0, 1, 0), brand="A2")
    store.write_plain([Plain(store.keys.item("b"), None)])
    assert catalogue.refresh(reader, ["a", "b", "z"]).tolist() == [0]
    assert brands(catalogue) == ["A2", "B", ""]
    assert catalogue.has_vector.all()
    assert "z" not in catalogue.index


def test_vectors_of_another_encoder_are_not_read(store: Store) -> None:
    put(store, "a", unit(1, 0, 0, 0))
    catalogue = Catalogue(DIM)
    catalogue.load(StoreReader(store, store.keys, version="v2", dim=DIM))
    assert catalogue.known.tolist() == [True]
    assert catalogue.has_vector.tolist() == [False]
