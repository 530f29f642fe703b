"""Search and ranking over a replayed shop: what is found, for whom, and why."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.text import Encoder, load_encoder
from models.answer import decode_answer
from models.signals import SEGMENTS
from rillet.serving import mirror as mirror_module
from rillet.serving import ranker as ranker_module
from rillet.serving.ranker import Ranker
from rillet.serving.relevance import Relevance
from rillet.serving.where import Where
from stream.announcement import Announced, announce
from stream.errors import NothingYetError, StoreError
from stream.settings import Settings
from stream.store import Store
from tests.builders import (
    DAY,
    MINUTE,
    NOON,
    forget,
    interaction,
    item,
    search,
    withdraw,
)
from tests.consumers.small_log import CLUSTERS, WITHDRAWN, the_log
from tests.rillet.searched import FOREIGN, Shop, ids

LATER = NOON + 5 * 60 * MINUTE + DAY


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield server.url
    server.close()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(Settings().encoder)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, url: str, encoder: Encoder) -> Iterator[Shop]:
    one = Shop(tmp_path_factory.mktemp("shop"), url, encoder, "shop")
    one.feed(*FOREIGN, *the_log())
    one.ranker.load()
    yield one
    one.ranker.close()
    one.store.close()


@pytest.fixture
def other(tmp_path: Path, url: str, encoder: Encoder) -> Iterator[Shop]:
    one = Shop(tmp_path, url, encoder, f"other{time.monotonic_ns()}")
    one.feed(*FOREIGN, *the_log(visits=10))
    yield one
    one.ranker.close()
    one.store.close()


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("saddle", "c2"),
        ("SADDLE!", "c2"),
        ("タワー", "ja1"),
        ("手表", "zh1"),
        ("ｉｐｈｏｎｅ15 ケース", "mix"),
        ("iPhone15 手表", "mix"),
        ("京都", "ja2"),
    ],
)
def test_a_query_finds_what_it_names(shop: Shop, query: str, best: str) -> None:
    assert ids(shop.ranker.search(query, n=3))[0] == best


def test_what_no_text_names_is_found_by_what_it_means(shop: Shop) -> None:
    assert set(ids(shop.ranker.search("drinking vessels", n=2))) == {"k0", "k1"}


@pytest.mark.parametrize("query", ["", "  \n", "!?", "🙂", "\ud800", "saddle " * 2000, "字" * 5000])
@pytest.mark.parametrize("user", ["user1", "nobody", None])
def test_any_query_has_an_answer(shop: Shop, query: str, user: str | None) -> None:
    found = shop.ranker.search(query, user=user, n=5)
    assert len(set(ids(found))) == len(found) == 5
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_without_a_query_it_is_the_list_of_the_user(shop: Shop) -> None:
    for user in ("user1", "user7"):
        answer = shop.store.get(shop.store.keys.recs(user))
        assert answer is not None
        liked = set(CLUSTERS["kitchen"] if user == "user1" else CLUSTERS["cycling"])
        assert set(ids(shop.ranker.search("", user=user, n=4))) <= liked


def test_what_words_and_vectors_both_find_comes_before_what_one_does() -> None:
    words, vectors = np.array([0, 1, 2], np.int32), np.array([2, 3], np.int32)
    found = Relevance(words, vectors, np.zeros(4, np.float32)).candidates()
    assert found.tolist() == [2, 0, 1, 3]  # 1/63 + 1/61, 1/61, 1/62, 1/62


def test_who_asks_changes_the_order_and_a_stranger_gets_an_answer(shop: Shop) -> None:
    cook, cyclist = (ids(shop.ranker.search("for the", user=u, n=8)) for u in ("user1", "user7"))
    assert sum(one in CLUSTERS["kitchen"] for one in cook) > 4
    assert sum(one in CLUSTERS["cycling"] for one in cyclist) > 4
    stranger = shop.ranker.search("for the", user="nobody", n=8)
    assert len(stranger) == 8
    assert shop.ranker.search("for the", n=8) == stranger


def test_a_visitor_counts_where_the_user_is_unknown(shop: Shop) -> None:
    by_user = shop.ranker.search("for the", user="user7", n=8)
    assert shop.ranker.search("for the", session="user7", n=8) == by_user
    assert shop.ranker.search("for the", user="nobody", session="user7", n=8) == by_user
    assert shop.ranker.search("for the", user="user7", session="user1", n=8) == by_user


def test_what_was_taken_is_found_again(shop: Shop) -> None:
    raw = shop.ranker.search("coffee mug", user="user1", n=1)
    assert ids(raw) == ["k1"]


def test_only_and_all_but_some_items(shop: Shop) -> None:
    found = shop.ranker.search("saddle", items=["k1", "c2", "zz", WITHDRAWN, "c2"], n=9)
    assert ids(found) == ["c2", "k1"]
    assert "c2" not in ids(shop.ranker.search("saddle", exclude=["c2", "zz"], n=9))
    for explain in (False, True):
        assert shop.ranker.search("saddle", items=[], explain=explain) == []
        assert shop.ranker.search("saddle", n=0, explain=explain) == []
        assert shop.ranker.rank([], explain=explain) == []
        (one,) = shop.ranker.rank([WITHDRAWN], explain=explain)
        assert not one.known


def test_only_what_is_admitted(shop: Shop) -> None:
    for query in ("saddle", ""):
        found = ids(shop.ranker.search(query, where=Where("kitchen"), n=50))
        assert found
        assert set(found) <= set(CLUSTERS["kitchen"]) - {WITHDRAWN}


def test_contributions_add_up_to_the_score_and_scores_are_chances(shop: Shop) -> None:
    everything = list(shop.replay.personalize.engine.world.catalogue.ids)
    for answer in (
        shop.ranker.search("blue bicycle lamp", user="user7", n=50, explain=True),
        shop.ranker.search("", user="user7", n=5, explain=True),
        shop.ranker.rank(everything, user="user1", explain=True),
        shop.ranker.rank(["k1", "zz", "c2"], query="saddle", explain=True),
    ):
        assert answer[0].reasons
        assert all(bool(one.reasons) == bool(one.words) for one in answer)
        for one in answer:
            assert sum(one.parts.values()) == pytest.approx(one.score, abs=1e-4)
            assert {"bias"} < set(one.parts) or not one.known
    ranked = shop.ranker.rank(everything, user="user1")
    assert sum(math.exp(one.score) for one in ranked if one.known) == pytest.approx(1)


def test_an_explanation_changes_nothing_else(shop: Shop) -> None:
    plain = shop.ranker.search("lamp", user="user7", n=9)
    told = shop.ranker.search("lamp", user="user7", n=9, explain=True)
    assert [(one.item, one.score) for one in plain] == [(one.item, one.score) for one in told]
    assert not any(one.parts or one.reasons or one.words for one in plain)


def test_the_words_name_what_a_query_and_a_past_are_worth(shop: Shop) -> None:
    (best,) = shop.ranker.search("saddle", user="user7", n=1, explain=True)
    assert "has the words of your search" in best.words
    shares = [why.share for why in best.reasons]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1.01


def test_ranking_returns_each_item_once_and_what_nobody_knows_last(shop: Shop) -> None:
    asked = ["zz", "k1", "c2", WITHDRAWN, "k1", "c3", "yy"]
    ranked = shop.ranker.rank(asked, user="user7")
    assert sorted(ids(ranked)) == sorted(set(asked))
    assert ids(ranked)[3:] == ["zz", WITHDRAWN, "yy"]
    assert [one.known for one in ranked] == [True] * 3 + [False] * 3
    assert set(ids(ranked)[:2]) == {"c2", "c3"}
    assert shop.ranker.rank([]) == []
    assert ids(shop.ranker.rank(["zz"])) == ["zz"]


def test_a_query_orders_a_given_list(shop: Shop) -> None:
    assert ids(shop.ranker.rank(["k1", "c3", "c2"], user="user1", query="saddle"))[0] == "c2"


def test_nothing_is_written(shop: Shop) -> None:
    before = shop.written()
    shop.ranker.search("a query that was never there", user="nobody", explain=True)
    shop.ranker.rank(["k1", "no such item"], query="another new one")
    shop.ranker.refresh()
    assert shop.written() == before
    assert "no such item" not in shop.ranker.mirror.catalogue.index


def test_calls_at_once_say_the_same(shop: Shop) -> None:
    asked = [
        (q, u) for q in ("saddle", "lamp", "手表", "cup", "") for u in ("user1", "user7", None)
    ]
    alone = [shop.ranker.search(q, user=u, n=5, explain=True) for q, u in asked]
    stop = threading.Event()

    def refresh() -> None:
        while not stop.wait(0.001):
            shop.ranker.refresh()

    with ThreadPoolExecutor(5) as pool:
        beside = pool.submit(refresh)
        work = [pool.submit(shop.ranker.search, q, user=u, n=5, explain=True) for q, u in asked * 4]
        together = [one.result() for one in work]
        stop.set()
        beside.result()
    assert together == alone * 4


def test_what_comes_later_is_found_and_what_goes_is_not(other: Shop) -> None:
    other.ranker.load()
    assert "late" not in ids(other.ranker.search("cello bow", n=50))
    other.feed(item("late", LATER, title="Cello bow"), withdraw("c2", LATER))
    other.ranker.refresh()
    assert ids(other.ranker.search("cello bow"))[0] == "late"
    assert "c2" not in ids(other.ranker.search("saddle", n=50))
    assert not other.ranker.rank(["c2", "late"])[-1].known
    other.feed(item("late", LATER + 1, title="Violin"))
    other.ranker.refresh()
    assert ids(other.ranker.search("violin"))[0] == "late"
    assert not other.ranker.mirror.words.scores(["cello"], len(other.ranker.mirror.catalogue)).any()


def test_what_users_do_and_what_is_learned_is_followed(other: Shop) -> None:
    other.ranker.load()
    before = other.ranker.version
    weights = other.ranker.mirror.engine.weights["next"].copy()
    other.feed(*(interaction(f"c{n}", LATER + n * MINUTE, "newcomer") for n in range(5)))
    other.ranker.refresh()
    assert other.ranker.version != before
    learned = other.replay.personalize.engine.weights["next"]
    assert other.ranker.mirror.engine.weights["next"] == pytest.approx(learned, abs=1e-9)
    assert (weights != learned).any()
    assert set(ids(other.ranker.rank(["k1", "k2", "c6"], user="newcomer"))[:1]) == {"c6"}
    other.feed(forget("newcomer", LATER + DAY))
    forgotten = other.ranker.rank(["k1", "k2", "c6"], user="newcomer")
    assert forgotten == other.ranker.rank(["k1", "k2", "c6"])


def test_the_next_list_follows_a_search(other: Shop) -> None:
    """The service publishes what is searched for; the list then has it first."""
    other.feed(search("bicycle saddle", LATER, "user1"))
    other.ranker.load()
    assert ids(other.ranker.search("", user="user1", n=50)).index("c2") < 3
    answer = other.replay.personalize.engine
    assert "query" in [source.name for source in answer.sources]
    listed = other.store.get(other.store.keys.recs("user1"))
    assert listed is not None
    found = decode_answer(listed)
    assert "query" in found.sources
    assert [one.item for one in found.items].index("c2") < 3


def test_it_starts_in_a_thread_and_says_when_it_is_ready(
    other: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranker_module, "FOLLOW_EVERY_S", 0.01)
    assert not other.ranker.ready
    with pytest.raises(NothingYetError, match="still loading"):
        other.ranker.search("saddle")
    other.ranker.start()
    waited(lambda: other.ranker.ready)
    other.feed(item("late", LATER, title="Cello bow"))
    waited(lambda: ids(other.ranker.search("cello bow"))[:1] == ["late"])
    other.ranker.close()
    assert ids(other.ranker.search("saddle"))[0] == "c2"


def test_why_the_engine_is_not_followed_is_told_once_and_in_full(
    other: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ranker_module, "FOLLOW_EVERY_S", 0.001)
    other.ranker.load()
    errors = [StoreError("gone")] * 3 + [ZeroDivisionError("odd")] * 3 + [StoreError("gone")] * 3

    def fails() -> None:
        if errors:
            raise errors.pop()

    monkeypatch.setattr(other.ranker, "refresh", fails)
    other.ranker.start()
    waited(lambda: not errors)
    other.ranker.close()
    lines = [line for line in caplog.records if line.name == ranker_module.__name__]
    assert [line.getMessage().rpartition(": ")[2] for line in lines] == ["gone", "odd", "gone"]
    assert [line.exc_info is not None for line in lines] == [False, True, False]


def test_a_catalogue_that_fills_while_it_is_asked_does_no_harm(
    tmp_path: Path, url: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path, url, encoder, f"fills{time.monotonic_ns()}")
    shop.ranker.load()
    mirror, lock = shop.ranker.mirror, shop.ranker.mirror.lock

    class Filling:
        def __enter__(self) -> None:
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()
            mirror.lock = lock
            shop.feed(item("a", LATER, title="Cello"))
            shop.ranker.refresh()

    monkeypatch.setattr(mirror, "lock", Filling())
    assert not shop.ranker.rank(["a"])[0].known
    assert shop.ranker.rank(["a"])[0].known
    shop.ranker.close()
    shop.store.close()


def test_cards_that_were_asked_for_last_are_kept(
    other: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "CARDS", 2)
    other.ranker.load()
    mirror = other.ranker.mirror
    for items in (["k1"], ["k2"], ["k1"], ["k3"]):
        assert set(mirror.cards(items)) == set(items)
    mirror._reads.away = True  # only what is kept is there
    assert set(mirror.cards(["k1", "k3"])) == {"k1", "k3"}
    with pytest.raises(StoreError, match="away"):
        mirror.cards(["k2"])


def test_another_encoder_is_taken_over_once(other: Shop, tmp_path: Path) -> None:
    training = other.settings.training.model_copy(update={"registry": str(tmp_path / "models")})
    settings = other.settings.model_copy(update={"training": training})
    follows = Ranker(settings, other.store)
    follows.load()
    before = follows.mirror
    follows.refresh()
    assert follows.mirror is before
    announce(other.store, "encoder", Announced("20260101-000000-abcd", "elsewhere", 1))
    follows.refresh()
    after = follows.mirror
    assert after is not before
    follows.refresh()
    assert follows.mirror is after
    assert ids(follows.search("saddle"))[0] == "c2"
    follows.close()


def test_what_is_taken_right_after_a_query_is_learned_apart(shop: Shop) -> None:
    weights = shop.ranker.mirror.engine.weights["next"]
    asking = weights[SEGMENTS.index("asking")]
    assert not any((asking == one).all() for one in weights[:-1])


def waited(what: Any) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_without_redis_everybody_is_a_stranger(
    other: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.ranker.load()
    known = other.ranker.search("saddle", n=3, user="user7")
    stranger = other.ranker.search("saddle", n=3)

    def gone(*_: object) -> None:
        raise StoreError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(other.store, "_patiently", gone)
        with pytest.raises(StoreError):
            other.ranker.refresh()
        without = other.ranker.search("saddle", n=3, user="user7")
        assert (without, without.degraded) == (stranger, True)
        assert not other.ranker.search("saddle", n=3).degraded  # nobody was named
        assert other.ranker.rank(["k1", "c2"], user="user7").degraded
        assert other.ranker.search("a new query", n=3, explain=True)
    other.ranker.refresh()
    again = other.ranker.search("saddle", n=3, user="user7")
    assert (again, again.degraded) == (known, False)


def test_an_empty_shop_finds_nothing(tmp_path: Path, url: str, encoder: Encoder) -> None:
    empty = Shop(tmp_path, url, encoder, "empty")
    empty.ranker.load()
    assert empty.ranker.search("saddle", user="u") == []
    assert ids(empty.ranker.rank(["a", "b"], user="u", explain=True)) == ["a", "b"]
    empty.store.close()
