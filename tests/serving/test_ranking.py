"""Searching and ranking through the service, by a real ranker over the shop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.testclient import TestClient

from features.card import decode_card
from stream.store import Store
from stream.writes import Plain
from tests.serving.conftest import problem

LIFE = 10_000_000

METARANKS = {
    "event": "ranking",
    "id": "id1",
    "items": [{"id": "72998"}, {"id": "589"}, {"id": "i3", "fields": []}],
    "user": "alice",
    "session": "alice1",
    "timestamp": 1661431892711,
}
"""As its quickstart asks; without a header that says that it is JSON."""


@pytest.fixture
def items(store: Store) -> list[str]:
    return sorted(name for name, _ in store.scan("item"))[:40]


def posted(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def curl(client: TestClient, path: str, body: Any) -> httpx2.Response:
    """Post as curl does with -d."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    return client.post(path, content=json.dumps(body), headers=form)


def test_a_query_finds_items(searching: TestClient, store: Store, items: list[str]) -> None:
    card = decode_card(store.get(store.keys.item(items[0])) or b"")
    found = posted(searching, "/recommend", query=card.title, top_n=5)
    assert found["origin"] == "search"
    assert len(found["items"]) == 5
    assert items[0] in {one["item"] for one in found["items"]}
    scores = [one["score"] for one in found["items"]]
    assert scores == sorted(scores, reverse=True)


def test_a_search_obeys_its_conditions(
    searching: TestClient, store: Store, items: list[str]
) -> None:
    cards = {name: decode_card(raw) for name, raw in store.scan("item")}
    card = cards[items[0]]
    category = card.categories[0]
    wish = {"query": card.title, "top_n": 50, "exclude": [items[0]]}
    found = posted(searching, "/recommend", **wish, filter={"category": category})["items"]
    assert found
    assert all(category in cards[one["item"]].categories for one in found)
    assert items[0] not in {one["item"] for one in found}
    few = posted(searching, "/recommend", **wish, items=items[:4])["items"]
    assert {one["item"] for one in few} <= set(items[1:4])


@pytest.mark.parametrize("query", ["智能手表", "東京タワー", "rug 絨毯 Teppich", "   ", "'\"\\"])
def test_a_query_may_be_in_any_language(searching: TestClient, query: str) -> None:
    assert "items" in posted(searching, "/recommend", query=query)


def test_explanations_add_up_to_the_score(
    searching: TestClient, known: str, items: list[str]
) -> None:
    found = posted(searching, "/rank", user=known, items=items, explain=True)["items"]
    for one in found:
        assert sum(one["parts"].values()) == pytest.approx(one["score"], abs=1e-4)
    assert any(one["words"] for one in found)
    again = posted(searching, "/rank", user=known, items=items)["items"]
    assert [set(one) for one in again] == [{"item", "score"}] * len(items)


def test_all_items_come_back_once_in_the_users_order(
    searching: TestClient, known: str, items: list[str]
) -> None:
    found = posted(searching, "/rank", user=known, items=[*items, "no-such", items[0]])["items"]
    assert sorted(one["item"] for one in found) == sorted([*items, "no-such"])
    scores = [one["score"] for one in found]
    assert scores == sorted(scores, reverse=True)
    turned = posted(searching, "/rank", user=known, items=["no-such", *items[::-1]])["items"]
    assert [one["score"] for one in turned] == pytest.approx(scores, abs=1e-4)


def test_a_users_items_alone_are_ranked(
    searching: TestClient, known: str, items: list[str]
) -> None:
    wish = {"user": known, "items": items, "exclude": items[:2], "top_n": 4}
    found = posted(searching, "/recommend", **wish)
    assert found["origin"] == "rank"
    assert len(found["items"]) == 4
    assert {one["item"] for one in found["items"]} <= set(items[2:])
    ranked = posted(searching, "/rank", user=known, items=items[2:])["items"]
    assert [one["item"] for one in found["items"]] == [one["item"] for one in ranked[:4]]
    nothing = posted(searching, "/recommend", user=known, items=items[:2], exclude=items[:2])
    assert nothing["items"] == []


def test_answers_without_an_item_can_be_explained(searching: TestClient, known: str) -> None:
    nothing = {"category": "no such category"}
    for wish in (
        {"query": "blue", "filter": nothing, "explain": True},
        {"query": "blue", "items": ["no-such"], "explain": True},
        {"user": known, "filter": nothing, "explain": True},
    ):
        assert posted(searching, "/recommend", **wish)["items"] == []
    (one,) = posted(searching, "/rank", items=["no-such"], explain=True)["items"]
    assert (one["item"], one["known"]) == ("no-such", False)
    metaranks = curl(searching, "/rank/m?explain=true", {"items": [{"id": "no-such"}]})
    assert [one["item"] for one in metaranks.json()["items"]] == ["no-such"]


@pytest.mark.parametrize("body", [{"items": []}, {"items": [""]}, {}, {"items": ["i"] * 1001}])
def test_bad_items_are_told(searching: TestClient, body: dict[str, Any]) -> None:
    found = problem(searching.post("/rank", json=body), 422, "invalid")
    assert found["errors"][0]["at"].startswith("items")


def test_metaranks_quickstart_request_is_answered_in_its_shape(searching: TestClient) -> None:
    answer = curl(searching, "/rank/xgboost", METARANKS)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == {"took", "items"}
    assert isinstance(found["took"], int)
    assert {one["item"] for one in found["items"]} == {"72998", "589", "i3"}
    assert all(set(one) == {"item", "score"} for one in found["items"])


def test_metaranks_recommendations_follow_the_items(searching: TestClient, store: Store) -> None:
    seeds = sorted(name for name, raw in store.scan("neighbours") if b'"next":[[' in raw)[:2]
    each = [searching.get(f"/similar/{one}?n=1000").json()["items"] for one in seeds]
    weights: dict[str, float] = {}
    for one in (*each[0], *each[1]):
        weights[one["item"]] = weights.get(one["item"], 0.0) + one["weight"]
    left = {item: weight for item, weight in weights.items() if item not in seeds}
    assert each[0]
    assert each[1]
    answer = curl(searching, "/recommend/similar", {"count": 1000, "user": "a", "items": seeds})
    found = answer.json()
    assert set(found) == {"took", "items"}
    scores = [one["score"] for one in found["items"]]
    assert {one["item"]: one["score"] for one in found["items"]} == pytest.approx(left)
    assert scores == sorted(scores, reverse=True)
    short = curl(searching, "/recommend/similar", {"count": 1, "items": seeds}).json()["items"]
    assert short == found["items"][:1]


@pytest.fixture
def follows(store: Store) -> Iterator[Callable[..., None]]:
    """Says what follows an item, until the test ends."""
    before: dict[str, bytes | None] = {}

    def one(item: str, *pairs: tuple[str, float]) -> None:
        key = store.keys.neighbours(item)
        before.setdefault(key, store.get(key))
        store.write_plain([Plain(key, msgspec.json.encode({"next": pairs}), LIFE)])

    yield one
    store.write_plain([Plain(key, raw, LIFE) for key, raw in before.items()])


def test_what_follows_several_items_counts_together_and_they_are_left_out(
    searching: TestClient, items: list[str], follows: Callable[..., None]
) -> None:
    first, second, third, fourth = items[:4]
    follows(first, (second, 9.0), (third, 2.0), (fourth, 1.5))
    follows(second, (first, 9.0), (fourth, 1.0))
    found = curl(searching, "/recommend/similar", {"items": [first, second]}).json()["items"]
    assert found == [{"item": fourth, "score": 2.5}, {"item": third, "score": 2.0}]


def test_a_list_instead_of_what_follows_has_not_the_items_that_were_given(
    searching: TestClient, known: str, follows: Callable[..., None]
) -> None:
    listed = [one["item"] for one in posted(searching, "/recommend", user=known)["items"]]
    follows(listed[0])
    wish = {"user": known, "items": listed[:1], "count": 3}
    found = curl(searching, "/recommend/als", wish).json()["items"]
    assert [one["item"] for one in found] == listed[1:4]


def test_metaranks_recommendations_leave_out_what_is_withdrawn(
    searching: TestClient, store: Store, items: list[str]
) -> None:
    gone = next(
        name for name, raw in store.scan("item") if name not in items and decode_card(raw).title
    )
    card = store.get(store.keys.item(gone)) or b""
    withdrawn = msgspec.json.encode(msgspec.json.decode(card) | {"withdrawn": True})
    seed = store.keys.neighbours("seed")
    follows = msgspec.json.encode({"next": [["no-such", 3.0], [gone, 2.0], [items[0], 1.0]]})
    for found in ([gone, items[0]], [items[0]]):
        store.write_plain([Plain(seed, follows, LIFE)])
        answer = curl(searching, "/recommend/similar", {"items": ["seed"]})
        store.write_plain([Plain(seed, None), Plain(store.keys.item(gone), withdrawn, LIFE)])
        assert [one["item"] for one in answer.json()["items"]] == found
    store.write_plain([Plain(store.keys.item(gone), card, LIFE)])


def test_metaranks_recommendations_are_a_list_where_nothing_follows(
    searching: TestClient, known: str
) -> None:
    """A user's, less the items that were given; everybody's where nobody is named."""
    listed = posted(searching, "/recommend", user=known, top_n=4)["items"]
    trending = searching.get("/trending?n=4").json()["items"]
    wishes: list[tuple[dict[str, Any], Any]] = [({"user": known}, listed), ({}, trending)]
    for wish, items in wishes:
        found = curl(searching, "/recommend/trending", {"count": 4} | wish).json()["items"]
        assert [one["item"] for one in found] == [one["item"] for one in items]
        assert found[0]["score"] == items[0]["score"]
    unknown = {"user": known, "items": ["no-such"], "count": 3}
    found = curl(searching, "/recommend/als", unknown).json()["items"]
    assert [one["item"] for one in found] == [one["item"] for one in listed[:3]]
    problem(searching.post("/recommend/als", json={"count": 0}), 422, "invalid")


def test_metaranks_explain_has_features(searching: TestClient, items: list[str]) -> None:
    event = METARANKS | {
        "items": [{"id": one, "fields": [{"name": "relevancy", "value": 1.0}]} for one in items],
        "fields": [{"name": "query", "value": "cat"}, {"name": "device", "value": ["a", "b"]}],
        "timestamp": "1661431892711",
    }
    answer = curl(searching, "/rank/xgboost?explain=true", event)
    for one in answer.json()["items"]:
        total = sum(feature["value"] for feature in one["features"])
        assert total == pytest.approx(one["score"], abs=1e-4)


@pytest.mark.parametrize(
    "event",
    [
        {"items": [{"id": 7}]},
        {"items": [{"name": "a"}]},
        {"items": ["a"]},
        {"user": "alice"},
        {"items": [{"id": "a"}], "fields": [{"value": 1}]},
        {"items": [{"id": "a"}], "fields": [{"name": "query", "value": "\ud800"}]},
        {"items": [{"id": "a"}], "fields": [{"name": "a", "value": ["\ud800"]}]},
        {"items": [{"id": "a"}], "timestamp": "\ud800"},
    ],
)
def test_what_is_no_ranking_event_is_told(searching: TestClient, event: Any) -> None:
    problem(curl(searching, "/rank/xgboost", event), 422, "invalid")
