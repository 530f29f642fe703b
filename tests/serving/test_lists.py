"""Reading lists: a user's, everybody's, cut and filtered; and a Redis that goes away."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from features.card import decode_card
from rillet.client import Client
from stream.settings import load_settings
from stream.store import Store
from stream.writes import Plain
from tests.own_redis import OwnRedis
from tests.serving.conftest import Open, eventually, problem

LIFE = 10_000_000


@pytest.fixture
def plain(redis_url: str) -> Any:
    with Client(load_settings(redis={"url": redis_url})) as one:
        yield one


def recommend(client: TestClient, **wish: Any) -> dict[str, Any]:
    answer = client.post("/recommend", json=wish)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [one["item"] for one in answer["items"]]


def test_a_users_list_is_what_the_client_reads(
    client: TestClient, plain: Client, known: str
) -> None:
    answer, read = recommend(client, user=known, top_n=20, explain=True), plain.recommend(known, 20)
    assert (answer["user"], answer["origin"]) == (known, "list")
    assert ids(answer) == [one.item for one in read.items]
    assert answer["items"][0]["score"] == read.items[0].score
    assert answer["items"][0]["reasons"][0]["source"] == read.items[0].reasons[0].source
    assert answer["as_of"]["offset"] == read.as_of.offset
    assert answer["model"] == read.model


def test_reasons_come_when_asked_for(client: TestClient, known: str) -> None:
    assert set(recommend(client, user=known)["items"][0]) == {"item", "score"}
    assert "reasons" in recommend(client, user=known, explain=True)["items"][0]


def test_reasons_are_said_in_words_with_titles(
    client: TestClient, store: Store, known: str
) -> None:
    """Of a user's list with when he took what it follows from; of everybody's without."""
    found = recommend(client, user=known, explain=True, top_n=50)["items"]
    for one in found:
        assert bool(one.get("words")) == bool(one.get("reasons"))
    past = {why["item"] for one in found for why in one.get("reasons", []) if "item" in why}
    titles = [decode_card(store.get(store.keys.item(item)) or b"").title for item in past]
    said = [words for one in found for words in one.get("words", [])]
    assert titles
    assert any(f"you took {title} " in words for title in titles for words in said)
    everybodys = client.get("/trending?explain=true").json()["items"]
    assert all(one["words"] for one in everybodys)
    assert "words" not in client.get("/trending").json()["items"][0]


def test_words_do_without_a_state_that_cannot_be_read(
    client: TestClient, store: Store, known: str
) -> None:
    key = store.keys.session(known)
    raw = store.get(key)
    store.write_plain([Plain(key, b"{", LIFE)])
    found = recommend(client, user=known, explain=True)["items"]
    store.write_plain([Plain(key, raw, LIFE)])
    assert found[0]["words"]
    assert not any("you took" in words for one in found for words in one["words"])


def test_ten_items_are_the_default_and_top_n_is_obeyed(client: TestClient, known: str) -> None:
    assert len(ids(recommend(client, user=known))) == 10
    assert len(ids(recommend(client, user=known, top_n=3))) == 3
    assert len(ids(recommend(client, user=known, top_n=3.0))) == 3


@pytest.mark.parametrize("wish", [{}, {"user": "stranger"}, {"session": "no-such-visit"}])
def test_who_is_not_known_is_shown_what_is_trending(
    client: TestClient, plain: Client, wish: dict[str, Any]
) -> None:
    answer = recommend(client, **wish)
    assert (answer["user"], answer["origin"]) == (None, "trending")
    assert ids(answer) == [one.item for one in plain.trending()]
    assert ids(client.get("/trending").json()) == ids(answer)


def test_a_visitor_is_known_by_his_session(client: TestClient, known: str) -> None:
    assert ids(recommend(client, session=known)) == ids(recommend(client, user=known))


def test_items_are_restricted_and_excluded(client: TestClient, known: str) -> None:
    whole = ids(recommend(client, user=known, top_n=50))
    assert ids(recommend(client, user=known, exclude=whole[:3], top_n=5)) == whole[3:8]
    assert ids(recommend(client, user=known, items=[whole[7], "no-such", whole[2]])) == [
        whole[2],
        whole[7],
    ]


def test_a_filter_admits_by_what_is_known_of_items(
    client: TestClient, store: Store, known: str
) -> None:
    whole = ids(recommend(client, user=known, top_n=50))
    cards = {one: decode_card(store.get(store.keys.item(one)) or b"") for one in whole}
    category = cards[whole[0]].categories[0]
    highest = sorted(card.price or 0 for card in cards.values())[len(cards) // 2]
    wish = {"category": category, "price": {"max": highest}}
    fits = [
        one
        for one in whole
        if category in cards[one].categories and (cards[one].price or 0) <= highest
    ]
    assert 0 < len(fits) < len(whole)
    assert ids(recommend(client, user=known, filter=wish, top_n=50)) == fits


def test_an_item_whose_card_cannot_be_read_does_not_pass(
    client: TestClient, store: Store, known: str
) -> None:
    first, *others = ids(recommend(client, user=known, top_n=50))
    key = store.keys.item(first)
    raw = store.get(key)
    store.write_plain([Plain(key, b"{", LIFE)])
    found = ids(recommend(client, user=known, filter={}, top_n=50))
    store.write_plain([Plain(key, raw, LIFE)])
    assert found == others


@pytest.mark.parametrize(
    ("wish", "at"),
    [
        ({"top_n": 0}, "top_n"),
        ({"top_n": 1001}, "top_n"),
        ({"top_n": "5"}, "top_n"),
        ({"top_n": 5.5}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"user": ""}, "user"),
        ({"user": "u" * 513}, "user"),
        ({"user": 7}, "user"),
        ({"usr": "u"}, "usr"),
        ({"items": "i"}, "items"),
        ({"items": ["i"] * 1001}, "items"),
        ({"exclude": [""]}, "exclude.0"),
        ({"filter": {"price": {"min": "a"}}}, "filter.price.min"),
        ({"query": ""}, "query"),
        ([], "the body"),
    ],
)
def test_a_bad_wish_is_told_where(client: TestClient, wish: Any, at: str) -> None:
    found = problem(client.post("/recommend", json=wish), 422, "invalid")
    assert found["errors"][0]["at"] == at


@pytest.mark.parametrize(
    "query", ["n=x&n=7", "n=3&n=3", "n=%C2%A07", "n=+7", "n=%D9%A3", "n=1_0", "n=", "n=0", "n=-1"]
)
def test_a_count_is_one_integer(client: TestClient, known: str, query: str) -> None:
    for path in ("/trending", "/similar/i", f"/api/recommend/{known}/c"):
        problem(client.get(f"{path}?{query}"), 422, "invalid")
    assert len(client.get("/trending?n=07").json()["items"]) == 7


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"user": "\xff"}', b"nul", b'"\\ud800'])
def test_what_is_no_json_is_told(client: TestClient, body: bytes) -> None:
    answer = client.post("/recommend", content=body)
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code, "malformed" if answer.status_code == 400 else "invalid")


def test_numbers_that_are_none_are_refused(client: TestClient) -> None:
    body = b'{"filter": {"price": {"min": NaN}}}'
    problem(client.post("/recommend", content=body), 422, "invalid")


def test_nesting_without_end_is_refused(client: TestClient) -> None:
    body = b'{"filter": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert client.post("/recommend", content=body).status_code in (400, 422)


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    problem(client.get("/no-such"), 404, "not-found")
    answer = client.get("/recommend")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


def test_a_query_without_search_is_told(client: TestClient) -> None:
    problem(client.post("/recommend", json={"query": "rug"}), 503, "no-search")
    problem(client.post("/rank", json={"items": ["a"]}), 503, "no-search")


def test_what_follows_an_item(client: TestClient, plain: Client, store: Store) -> None:
    item = next(name for name, _ in store.scan("neighbours") if plain.similar(name))
    found = client.get(f"/similar/{item}", params={"n": 3}).json()
    assert found["item"] == item
    assert [(one["item"], one["weight"]) for one in found["items"]] == list(plain.similar(item, 3))
    assert client.get("/similar/no-such").json() == {"item": "no-such", "items": []}


def test_what_is_known_of_a_user(client: TestClient, plain: Client, known: str) -> None:
    found, read = client.get(f"/session/{known}").json(), plain.session(known)
    assert read is not None
    assert (found["user"], found["events"]) == (known, read.events)
    problem(client.get("/session/stranger"), 404, "unknown-user")


@pytest.mark.parametrize("name", ["a/b?c d#ü%", "runner\n", "\n", "a\nb", "../x"])
def test_ids_may_hold_any_character(client: TestClient, store: Store, name: str) -> None:
    key = store.keys.neighbours(name)
    store.write_plain([Plain(key, b'{"next":[["x",1.5]]}', LIFE)])
    found = client.get(f"/similar/{quote(name, safe='')}").json()
    store.write_plain([Plain(key, None, LIFE)])  # no ranker is to find it
    assert found == {"item": name, "items": [{"item": "x", "weight": 1.5}]}


def test_a_list_of_another_version_is_an_error_that_shows_nothing(
    client: TestClient, store: Store
) -> None:
    store.write_plain([Plain(store.keys.recs("odd"), b'{"user": "secret-name"}', LIFE)])
    for name in ("session", "neighbours"):
        key = getattr(store.keys, name)("odd")
        store.write_plain([Plain(key, b'{"secret-name": 1, "events": "x", "next": 1}', LIFE)])
    answers = [client.post("/recommend", json={"user": "odd"})]
    answers += [client.get(path) for path in ("/session/odd", "/similar/odd")]
    store.write_plain([Plain(store.keys.neighbours("odd"), None, LIFE)])
    store.write_plain([Plain(store.keys.session("odd"), None, LIFE)])
    for answer in answers:
        found = problem(answer, 500, "failed")
        assert "another version" in found["mend"]
        assert "secret-name" not in answer.text


def test_pseudonyms_are_looked_up_and_not_shown(redis_url: str, store: Store, known: str) -> None:
    from rillet.serving.app import create_app
    from stream.pseudonyms import pseudonyms_of

    settings = load_settings(redis={"url": redis_url}, privacy={"key": "a secret of your own"})
    name = pseudonyms_of(settings.privacy).of("alice")
    raw, state = store.get_many([store.keys.recs(known), store.keys.session(known)])
    assert raw and state
    store.write_plain([Plain(store.keys.recs(name), raw, LIFE)])
    store.write_plain([Plain(store.keys.session(name), state, LIFE)])
    with TestClient(create_app(settings), "http://127.0.0.1") as client:
        assert recommend(client, user="alice")["user"] == "alice"
        assert client.get("/session/alice").json()["user"] == "alice"


def test_without_redis_the_last_known_list_is_served_until_it_is_back(
    opened: Open, own_redis: OwnRedis, store: Store, known: str
) -> None:
    mine = Store(load_settings(redis={"url": own_redis.url}).redis)
    raws = store.get_many([store.keys.recs(known), store.keys.recs("*default*")])
    names = (known, "*default*")
    for name, raw in zip(names, raws, strict=True):
        mine.write_plain([Plain(mine.keys.recs(name), raw or b"", LIFE)])
    mine.close()
    client = opened(own_redis.url)
    assert recommend(client, user=known)["origin"] == "list"
    trending = ids(recommend(client))
    own_redis.stop()
    wishes: list[dict[str, Any]] = [{"user": known}, {}, {"user": known, "exclude": ["no-such"]}]
    for wish in wishes:
        answer = client.post("/recommend", json=wish)
        assert answer.status_code == 200
        assert answer.headers["x-rillet-degraded"] == "redis"
        assert answer.json()["origin"] == "trending"
        assert ids(answer.json()) == trending
    answer = client.get(f"/api/recommend/{known}", params={"n": 2})
    assert (answer.json(), answer.headers["x-rillet-degraded"]) == (trending[:2], "redis")
    for path in (f"/session/{known}", "/similar/i1"):
        answer = client.get(path)
        problem(answer, 503, "redis-away")
        assert answer.headers["retry-after"]
    filtered = {"user": known, "filter": {"category": "Rugs"}}
    problem(client.post("/recommend", json=filtered), 503, "redis-away")
    assert 'rillet_http_degraded_total{away="redis"}' in client.get("/metrics").text
    own_redis.start()

    def back() -> bool:
        answer = client.post("/recommend", json={"user": known})
        return "x-rillet-degraded" not in answer.headers

    eventually(back)
    assert recommend(client, user=known)["origin"] == "list"


def test_a_redis_that_is_away_is_not_waited_for_by_each(opened: Open, own_redis: OwnRedis) -> None:
    client = opened(own_redis.url)
    own_redis.stop()
    problem(client.post("/recommend", json={}), 503, "redis-away")
    began = time.perf_counter()
    for _ in range(20):
        problem(client.post("/recommend", json={"user": "u"}), 503, "redis-away")
    assert time.perf_counter() - began < 5


def test_a_service_may_be_started_before_its_redis(opened: Open, own_redis: OwnRedis) -> None:
    own_redis.stop()
    client = opened(own_redis.url)
    problem(client.get("/trending"), 503, "redis-away")
    own_redis.start()
    eventually(lambda: client.get("/trending").json()["kind"] == "nothing-yet")


def test_a_redis_that_hangs_is_waited_for_as_long_as_is_set(
    opened: Open, own_redis: OwnRedis, store: Store
) -> None:
    mine = Store(load_settings(redis={"url": own_redis.url}).redis)
    mine.write_plain(
        [Plain(mine.keys.recs("*default*"), store.get(store.keys.recs("*default*")) or b"", LIFE)]
    )
    mine.close()
    client = opened(own_redis.url, redis_s=0.2)
    assert recommend(client)["items"]
    own_redis.hang()
    try:
        began = time.perf_counter()
        answer = client.post("/recommend", json={"user": "u"})
        assert answer.headers["x-rillet-degraded"] == "redis"
        assert time.perf_counter() - began < 3
    finally:
        own_redis.go_on()
