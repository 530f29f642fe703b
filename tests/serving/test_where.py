from __future__ import annotations

from typing import Any

import pytest

from features.card import AsOf, ItemCard
from rillet.serving.models import Filter
from rillet.serving.where import Where

KILIM = ItemCard(
    AsOf(0, 0, 0),
    "kilim",
    categories=["Rugs", "Wool"],
    price=80.0,
    numbers={"price": 80.0, "stock": 3.0, "new": 1.0},
    lists={"colour": ["red", "blue"], "size": ["12"]},
    texts={"title": "Grand kilim"},
)


@pytest.mark.parametrize(
    ("asked", "admitted"),
    [
        ({}, True),
        ({"category": "rugs"}, True),
        ({"category": "Rug"}, False),
        ({"price": {"min": 80, "max": 80}}, True),
        ({"price": {"min": 80.01}}, False),
        ({"price": {"max": 79.99}}, False),
        ({"fields": {"colour": "red"}}, True),
        ({"fields": {"colour": "green"}}, False),
        ({"fields": {"colour": "Red"}}, False),
        ({"fields": {"stock": 3}}, True),
        ({"fields": {"stock": 4}}, False),
        ({"fields": {"new": True}}, True),
        ({"fields": {"new": False}}, False),
        ({"fields": {"size": 12}}, True),
        ({"fields": {"title": "Grand kilim"}}, True),
        ({"fields": {"nothing": "red"}}, False),
        ({"fields": {"nothing": 3}}, False),
        ({"category": "wool", "price": {"max": 100}, "fields": {"stock": 3}}, True),
        ({"category": "wool", "price": {"max": 100}, "fields": {"stock": 2}}, False),
    ],
)
def test_all_conditions_must_hold(asked: dict[str, Any], admitted: bool) -> None:
    assert Filter.model_validate(asked).where().admits(KILIM) is admitted


def test_what_is_not_known_does_not_pass() -> None:
    bare = ItemCard(AsOf(0, 0, 0), "bare")
    assert Where().admits(bare)
    assert not Where(price_min=0).admits(bare)
    assert not Where(price_max=10**9).admits(bare)
    assert not Where(category="").admits(bare)


def test_a_withdrawn_item_never_passes() -> None:
    assert not Where().admits(ItemCard(AsOf(0, 0, 0), "gone", withdrawn=True))
