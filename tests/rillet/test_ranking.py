"""Items that are ordered as a list, by what users took of lists that they were shown."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from features.text import load_encoder
from models.lists import NAMES
from rillet.serving.ranker import ENOUGH
from rillet.serving.scoring import LISTED
from stream.events import Event
from stream.settings import Settings
from stream.store import Store
from tests.builders import DAY, MINUTE, NOON, interaction, ranking
from tests.consumers.small_log import the_log
from tests.rillet.searched import Shop, ids

AT_ONCE = 10
SHOWN = ["k0", "c1", "c3"]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop in which c3 is taken of each list that has it, and k0 is bought unseen."""
    with closing(Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)) as server:
        with tempfile.TemporaryDirectory() as folder:
            one = Shop(Path(folder), server.url, load_encoder(Settings().encoder), "shop")
            one.feed(*the_log(visits=10))
            one.ranker.load()
            one.ranker.mirror.heard.models_every_s = 0
            with (
                pytest.MonkeyPatch.context() as patch
            ):  # users differ soon, in where they look, too
                patch.setattr("models.differences.START", ENOUGH // 2)
                feed(one, range(ENOUGH))
            assert one.ranker.mirror.engine.lists.clicks >= ENOUGH
            yield one
            one.ranker.close()
            one.store.close()


def lists(numbers: range) -> Iterator[Event]:
    for n in numbers:
        user, at = f"v{n % 40}", NOON + 2 * DAY + n * 5 * MINUTE
        turned = SHOWN[n % 3 :] + SHOWN[: n % 3]
        yield ranking(turned, at, user, id=f"list{n}")
        yield interaction("c3", at + 9000, user, ranking=f"list{n}")
        for k in range(3):
            yield interaction("k0", at + MINUTE + k, f"b{n}-{k}", type="purchase")


def feed(shop: Shop, numbers: range) -> None:
    """Feed lists, some at a time as a stream has them."""
    for first in numbers[::AT_ONCE]:
        shop.feed(*lists(range(first, first + AT_ONCE)))
    shop.ranker.refresh()


def test_items_are_ordered_as_a_list(shop: Shop) -> None:
    items, ranker = [*SHOWN, "c5"], shop.ranker
    found = ranker.rank(items, explain=True)
    assert ids(found)[0] == "c3"
    assert "often taken from lists like this" in found[0].words
    plain = ranker.rank(items)
    assert [(one.item, one.score) for one in plain] == [(one.item, one.score) for one in found]
    turned = {one.item: one.score for one in ranker.rank(items[::-1], user="v1")}
    assert turned == pytest.approx(
        {one.item: one.score for one in ranker.rank(items, user="v1")}, abs=1e-4
    )


def test_before_enough_was_clicked_what_is_taken_next_decides(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rillet.serving.ranker.ENOUGH", math.inf)
    found = shop.ranker.rank([*SHOWN, "c5"], explain=True)
    assert ids(found)[0] == "k0"
    assert all("worth" not in one.parts for one in found)


def test_scores_of_such_a_list_are_chances_and_their_parts_add_up(shop: Shop) -> None:
    found = shop.ranker.rank([*SHOWN, "c5"], user="v1", explain=True)
    assert sum(math.exp(one.score) for one in found) == pytest.approx(1)
    for one in found:
        assert sum(one.parts.values()) == pytest.approx(one.score, abs=1e-4)
        assert one.parts["worth"]


@pytest.mark.parametrize("explain", [False, True])
def test_items_of_such_a_list_that_nobody_knows_come_last(shop: Shop, explain: bool) -> None:
    assert ids(shop.ranker.rank(["zz", "k0"], explain=explain)) == ["k0", "zz"]
    assert ids(shop.ranker.rank(["zz"], explain=explain)) == ["zz"]
    (one,) = shop.ranker.rank(["k0"], explain=explain)
    assert one.score == 0


def test_a_query_is_answered_by_what_is_taken_next(shop: Shop) -> None:
    found = shop.ranker.rank([*SHOWN, "c5"], query="lamp for the bicycle", explain=True)
    assert ids(found)[0] == "c5"
    assert all("worth" not in one.parts for one in found)


def test_all_that_is_known_of_lists_counts_but_places() -> None:
    counted = [name for names in LISTED.values() for name in names]
    assert sorted([*counted, "list.depth", "list.top", "list.end"]) == sorted(NAMES)
