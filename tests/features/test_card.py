from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.card import AsOf, ItemCard, decode_card, encode_card, fold_item, text_of
from features.text import text_hash
from stream.events import Delete, Field, Item, Millis
from stream.settings import Settings
from stream.writes import stamp_head

SETTINGS = Settings()


def fold(card: ItemCard | None, offset: int, time: int = 10, **fields: Any) -> ItemCard:
    event = Item(
        timestamp=Millis(time), item="7", fields=[Field(name, v) for name, v in fields.items()]
    )
    return fold_item(card, event, SETTINGS, partition=0, offset=offset)


def test_kinds_of_fields() -> None:
    card = fold(
        None,
        0,
        title="Grumpy Men",
        genres=["romance", "comedy"],
        director="a person",
        runtime=101,
        new=True,
        price=4.5,
        description="Short.",
        poster="https://example.org/x.png",
        long="word " * 30,
        years=[1999, 2000.5],
    )
    assert card.title == "Grumpy Men"
    assert card.categories == ["romance", "comedy"]
    assert card.brand == "a person"
    assert card.price == 4.5
    assert card.numbers == {"runtime": 101.0, "new": 1.0, "price": 4.5}
    assert card.lists == {
        "genres": ["romance", "comedy"],
        "director": ["a person"],
        "years": ["1999", "2000.5"],
    }
    assert set(card.texts) == {"title", "description", "poster", "long"}
    assert text_of(card, SETTINGS.encoder.fields) == "Grumpy Men. romance, comedy. Short."
    assert card.text_hash == text_hash("Grumpy Men. romance, comedy. Short.")
    assert card.cut == 0


def test_named_fields_are_set_and_others_kept() -> None:
    first = fold(None, 0, title="Mug", price=3.0, tags=["blue"])
    second = fold(first, 1, price=4.0)
    assert (second.title, second.price, second.lists) == ("Mug", 4.0, {"tags": ["blue"]})
    assert second.text_hash == first.text_hash
    third = fold(second, 2, price=None, tags=None)
    assert (third.title, third.price, third.lists, third.numbers) == ("Mug", None, {}, {})
    assert (first.price, first.lists) == (3.0, {"tags": ["blue"]}), "the input is not changed"


def test_field_may_change_its_kind() -> None:
    card = fold(fold(None, 0, size="large"), 1, size=12)
    assert (card.lists, card.numbers) == ({}, {"size": 12.0})


@pytest.mark.parametrize(("price", "expected"), [("12.50", 12.5), (-1, None), ("free", None)])
def test_price(price: float | str, expected: float | None) -> None:
    assert fold(None, 0, price=price).price == expected


def test_redelivery_changes_nothing() -> None:
    card = fold(fold(None, 3, title="Mug"), 4, title="Cup")
    assert fold(card, 4, title="Cup") is card
    assert fold(card, 3, title="Mug") is card
    assert fold(card, 5, title="Bowl").title == "Bowl"


def test_withdrawn_and_listed_again() -> None:
    listed = fold(None, 0, time=10, title="Mug")
    gone = fold_item(
        listed, Delete(timestamp=Millis(20), item="7"), SETTINGS, partition=0, offset=1
    )
    assert (gone.withdrawn, gone.title, gone.updated) == (True, "Mug", 20)
    again = fold(gone, 2, time=30, price=2.0)
    assert (again.withdrawn, again.title, again.first_seen) == (False, "Mug", 10)


def test_delete_of_an_unknown_item_leaves_a_mark() -> None:
    card = fold_item(None, Delete(timestamp=Millis(5), item="9"), SETTINGS, partition=1, offset=2)
    assert (card.item, card.withdrawn, card.as_of) == ("9", True, AsOf(1, 2, 5))


def test_times_are_the_earliest_and_the_latest() -> None:
    card = fold(fold(None, 0, time=50, title="a"), 1, time=20)
    assert (card.first_seen, card.updated, card.as_of.event_time) == (20, 50, 20)


def test_json_begins_with_the_stamp() -> None:
    raw = encode_card(fold(None, 41, title="Mug"))
    assert raw.startswith(stamp_head(0, 41))
    assert encode_card(decode_card(raw)) == raw


def test_limits_cut_and_count() -> None:
    many = fold(None, 0, **{f"f{n}": n for n in range(70)})
    assert (len(many.numbers), many.cut) == (64, 6)
    assert fold(many, 1, f0=9, f99=1).cut == 1
    wide = fold(None, 0, tags=[f"t{n}" for n in range(100)], text="x" * 5000, **{"n" * 65: 1})
    assert (len(wide.lists["tags"]), len(wide.texts["text"]), wide.cut) == (64, 4000, 3)
    word = fold(None, 0, tags=["y" * 200])
    assert (word.lists["tags"], word.cut) == (["y" * 100], 1)


def own(value: object) -> dict[str, Any]:
    return {"vector:image": value}


def test_own_vectors() -> None:
    card = fold(None, 0, **own([3.0, 4.0]))
    assert card.vectors == {"image": [0.6, 0.8]}
    assert fold(card, 1, **own(None)).vectors == {}
    for bad in ([0.0, 0.0], ["a", 1.0], [1.0] * 5000, [1.7e308] * 3):
        cut = fold(card, 1, **own(bad))
        assert (cut.vectors, cut.cut) == ({}, 1)


def test_value_that_is_not_finite_is_cut() -> None:
    card = fold(None, 0, weight=math.inf)
    assert (card.numbers, card.cut) == ({}, 1)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.text(max_size=120),
    st.lists(st.one_of(st.text(max_size=120), st.floats()), max_size=5),
)
fields = st.lists(
    st.tuples(st.one_of(st.sampled_from(["title", "price", "vector:a", "tags"]), st.text()), values)
)


@settings(deadline=None)
@given(st.lists(fields, max_size=5))
def test_any_fields_fold_and_round_trip(batches: list[list[tuple[str, Any]]]) -> None:
    card = None
    for offset, batch in enumerate(batches):
        event = Item(timestamp=Millis(1), item="7", fields=[Field(n, v) for n, v in batch])
        card = fold_item(card, event, SETTINGS, partition=0, offset=offset)
        raw = encode_card(card)
        assert decode_card(raw) == card
        assert raw.startswith(stamp_head(0, offset))
