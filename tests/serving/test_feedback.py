"""Events that come by HTTP: what is refused, and what becomes of them without Kafka."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from kafka.record.default_records import (  # type: ignore[import-untyped]
    DefaultRecordBatchBuilder,
)
from starlette.testclient import TestClient

from features.card import decode_card
from rillet.serving.events import records_of
from rillet.serving.gorse import FeedbackIn
from rillet.serving.guard import ALL, Caller
from stream.errors import BadEventError
from stream.events import Interaction, decode
from stream.settings import Settings
from stream.store import Store
from tests.serving.conftest import problem

ANYBODY = Caller("address 127.0.0.1", ALL)
CLICK = {"event": "interaction", "type": "click", "user": "u", "item": "i"}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"event": "interaction", "type": "click", "user": "u"}, "item"),
    ({**CLICK, "user": "*default*"}, "user"),
    ({**CLICK, "item": ""}, "item"),
    ({**CLICK, "item": "i" * 513}, "item"),
    ({**CLICK, "timestamp": "noon"}, "timestamp"),
    ({**CLICK, "timestamp": 253402300799998}, "timestamp"),
    ({**CLICK, "value": "much"}, "value"),
    ({"event": "search", "query": "tea"}, "user"),
    ({"event": "ranking", "user": "u", "items": [{"id": "a"}, {"name": "b"}]}, "items[1].id"),
    ({"event": "delete", "user": "u", "item": "i"}, ""),
    ({"event": "buy", "user": "u"}, "event"),
    ({"event": "merge", "user": "u", "anonymous": "a"}, "event"),
]


@pytest.mark.parametrize(("event", "field"), BAD)
def test_what_is_no_event_is_told_by_record_and_field(
    client: TestClient, event: dict[str, Any], field: str
) -> None:
    found = problem(client.post("/feedback", json=[CLICK, event]), 422, "bad-event")
    assert [(one["record"], one["field"]) for one in found["errors"]] == [(1, field)]
    assert found["errors"][0]["message"]
    alone = problem(client.post("/feedback", json=event), 422, "bad-event")
    assert alone["errors"][0]["record"] == 0


def test_all_bad_records_are_named_up_to_twenty(client: TestClient) -> None:
    found = problem(client.post("/feedback", json=[{}] * 30), 422, "bad-event")
    assert [one["record"] for one in found["errors"]] == list(range(20))


@pytest.mark.parametrize("body", [b"[", b"[" * 20_000, b"[1,", b'[{"event": "search"}', b"[\xff]"])
def test_a_list_that_does_not_end_is_no_json(client: TestClient, body: bytes) -> None:
    problem(client.post("/feedback", content=body), 400, "malformed")


UNDATED = b'{"event":"interaction","type":"click","user":"a","item":"i1"}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"7",
        b"null",
        b"\xff",
        b'{"event": ',
        UNDATED + b" more",
        UNDATED + b"\n" + UNDATED,
    ],
)
def test_what_is_nothing_is_a_bad_event(client: TestClient, body: bytes) -> None:
    problem(client.post("/feedback", content=body), 422, "bad-event")


def test_nesting_without_end_is_refused(client: TestClient) -> None:
    body = b'{"event":"search","user":"u","query":"q","fields":' + b"[" * 100_000
    problem(client.post("/feedback", content=body), 422, "bad-event")


def test_no_list_is_no_event(client: TestClient) -> None:
    answer = client.post("/feedback", json=[])
    assert answer.json() | {"tookMillis": 0} == {
        "status": "ok",
        "accepted": 0,
        "updated": 0,
        "tookMillis": 0,
    }


def test_an_event_without_a_time_happened_now() -> None:
    (record,) = records_of(json.dumps(CLICK).encode(), ANYBODY, Settings(), 1_234)
    event = decode(record.value)
    assert isinstance(event, Interaction)
    assert event.timestamp == 1_234
    assert (record.topic, record.key) == ("rillet.events", b"u")


def test_what_comes_goes_on_as_it_came() -> None:
    raw = b'{"event":"item","timestamp":"5","item":"i","fields":[{"name":"t","value":"x"}]}'
    (record,) = records_of(b" [" + raw + b"]", ANYBODY, Settings(), 1_234)
    assert (record.value, record.topic, record.key) == (raw, "rillet.catalogue", b"i")


def test_a_record_that_kafka_would_refuse_is_refused_before() -> None:
    settings = Settings.model_validate({"kafka": {"max_record_bytes": 1024}})
    long = json.dumps(CLICK | {"fields": [{"name": "a", "value": "b" * 1000}]}).encode()
    with pytest.raises(BadEventError, match="1024 are allowed"):
        records_of(long, ANYBODY, settings, 1_234)


def test_a_record_counts_with_its_key_and_what_is_around_it() -> None:
    settings = Settings.model_validate({"kafka": {"max_record_bytes": 2048}})
    event = {"event": "search", "query": "q", "user": "u" * 400, "timestamp": 1, "id": ""}
    wide = json.dumps(event | {"query": "q" * (2049 - len(json.dumps(event)))}).encode()
    assert len(wide) == 2048
    for cut, fits in ((0, False), (300, False), (600, True)):
        raw = wide.replace(b"q" * cut, b"", 1) if cut else wide
        estimate = DefaultRecordBatchBuilder.estimate_size_in_bytes(b"u" * 400, raw, [])
        assert (estimate <= 2048) == fits
        if fits:
            assert len(records_of(raw, ANYBODY, settings, 1_234)) == 1
        else:
            with pytest.raises(BadEventError, match="2048 are allowed"):
                records_of(raw, ANYBODY, settings, 1_234)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/feedback", CLICK),
        ("POST", "/api/feedback", [{"FeedbackType": "star", "UserId": "u", "ItemId": "i"}]),
        ("DELETE", "/users/u", None),
    ],
)
def test_without_kafka_nothing_is_said_to_be_stored(
    client: TestClient,
    method: str,
    path: str,
    body: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("rillet.serving.publisher.PAUSE_S", 600.0)
    answer = client.request(method, path, json=body)
    problem(answer, 503, "kafka-away")
    assert int(answer.headers["retry-after"]) >= 1
    problem(client.request(method, path, json=body), 503, "kafka-away")
    tries = [one for one in caplog.messages if one.startswith("1 events refused")]
    assert len(tries) == 1, "it was known that Kafka is away"
    assert "rillet_http_events_refused_total 2.0" in client.get("/metrics").text


def test_reading_goes_on_without_kafka(client: TestClient) -> None:
    problem(client.post("/feedback", json=CLICK), 503, "kafka-away")
    assert client.get("/trending").status_code == 200
    found = problem(client.get("/ready"), 503, "not-ready")
    assert (found["redis"], found["kafka"], found["search"]) == (True, False, False)


def test_nobody_is_not_forgotten(client: TestClient) -> None:
    problem(client.delete("/users/*default*"), 422, "reserved")


def test_gorses_feedback_becomes_an_interaction() -> None:
    given = {"FeedbackType": "star", "UserId": "bob", "ItemId": "ollama:ollama", "Value": 1.0}
    dated = FeedbackIn.model_validate(given | {"Timestamp": "2022-02-24", "Comment": "good"})
    event = decode(dated.event(5))
    assert isinstance(event, Interaction)
    assert (event.type, event.user, event.item) == ("star", "bob", "ollama:ollama")
    assert (event.value, event.timestamp) == (1.0, 1_645_660_800_000)
    assert [(one.name, one.value) for one in event.fields] == [("comment", "good")]
    undated = decode(FeedbackIn.model_validate(given).event(5))
    assert isinstance(undated, Interaction)
    assert undated.timestamp == 5


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"FeedbackType": "star", "UserId": "u", "ItemId": "i"}, "invalid"),
        ([{"FeedbackType": "star", "UserId": "u"}], "invalid"),
        ([{"FeedbackType": "", "UserId": "u", "ItemId": "i"}], "invalid"),
        ([{"FeedbackType": "s", "UserId": "u", "ItemId": "i", "Timestamp": "noon"}], "bad-event"),
        ([{"FeedbackType": "s", "UserId": "*default*", "ItemId": "i"}], "bad-event"),
        ([{"FeedbackType": "s", "UserId": "u", "ItemId": "i", "Timestamp": "\ud800"}], "invalid"),
        ([{"FeedbackType": "s", "UserId": "u", "ItemId": "i", "Comment": "\ud800"}], "invalid"),
    ],
)
def test_bad_feedback_is_told(client: TestClient, given: Any, kind: str) -> None:
    problem(client.post("/api/feedback", content=json.dumps(given)), 422, kind)


@pytest.mark.parametrize("path", ["/api/feedback", "/rank/m", "/rank", "/recommend"])
def test_lists_in_lists_without_end_are_no_json(client: TestClient, path: str) -> None:
    problem(client.post(path, content=b"[" * 20_000), 400, "malformed")


def test_gorses_quickstart_reads_ids(client: TestClient, known: str) -> None:
    plain = client.get(f"/api/recommend/{known}", params={"n": 3}).json()
    assert len(plain) == 3
    scored = client.get(
        f"/api/recommend/{known}", params={"n": 3}, headers={"X-API-Version": "2"}
    ).json()
    assert [one["Id"] for one in scored] == plain
    assert all(0 <= one["Score"] <= 1 for one in scored)
    assert len(client.get("/api/recommend/stranger").json()) == 10


def test_gorses_list_may_be_of_a_category(client: TestClient, known: str) -> None:
    whole = client.get(f"/api/recommend/{known}", params={"n": 50}).json()
    none = client.get(f"/api/recommend/{known}", params={"category": "no-such"}).json()
    assert none == []
    assert len(whole) == 50


def test_gorses_category_may_stand_in_the_path(
    client: TestClient, store: Store, known: str
) -> None:
    whole = client.get(f"/api/recommend/{known}", params={"n": 50}).json()
    first = decode_card(store.get(store.keys.item(whole[0])) or b"").categories[0]
    asked = client.get(f"/api/recommend/{known}", params={"n": 50, "category": first}).json()
    assert 0 < len(asked) < 50
    path = f"/api/recommend/{known}/{quote(first, safe='')}"
    assert client.get(path, params={"n": 50}).json() == asked
    assert client.get(f"/api/recommend/{known}/no-such").json() == []
    # an id may have a slash, which then is written %2F
    assert len(client.get("/api/recommend/stranger%2Fno-such").json()) == 10
