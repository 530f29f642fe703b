"""The HTTP service before a real Kafka and a real Redis: from events that come to lists that go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rillet.serving.guard import new_key
from rillet.simulate import Plan, World
from stream.events import Item, encode
from tests.integration.live import Rillet, Running, Start, eventually, worked_off

SCHEMATHESIS_S = int(os.environ.get("RILLET_TEST_SCHEMATHESIS_S", "20"))
"""How long requests are made up; 600 for a thorough look."""

KEY, LINE = new_key(["read", "write", "admin"])
RULES = """
# A schema cannot say that a time is none of the future, nor that a text is a date after 1970.
[[operations]]
include-path = ["/feedback", "/api/feedback"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "422"]
"""

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"


def url_of(running: Running) -> str:
    """Return where a service listens, as soon as it says so."""

    def told() -> str:
        lines = [line for line in running.said().splitlines() if line.startswith("{")]
        return str(json.loads(lines[0])["url"]) if lines else ""

    return str(eventually(told, running.said))


@pytest.fixture
def service(
    rillet: Rillet, start: Start, variables: dict[str, str]
) -> Iterator[Callable[..., httpx2.Client]]:
    """Starts the service, with topics that are there."""
    assert rillet("init", "--topics").returncode == 0
    variables["RILLET_SERVE__KEYS"] = LINE
    variables["RILLET_SERVE__REQUESTS_PER_MINUTE"] = "0"
    opened: list[httpx2.Client] = []

    def one(*options: str) -> httpx2.Client:
        running = start("serve", "--port", "0", "--json", *options)
        headers = {"X-API-Key": KEY}
        opened.append(httpx2.Client(base_url=url_of(running), headers=headers, timeout=30))
        return opened[-1]

    yield one
    for client in opened:
        client.close()


def fill(client: httpx2.Client, rillet: Rillet) -> None:
    """Send a small shop's items, and when they are known what happened in it."""
    events = list(World(Plan(seed=3, users=20, items=240, days=1)).events())
    parts = ([isinstance(one, Item) for one in events], [not isinstance(o, Item) for o in events])
    for chosen in parts:
        some = [encode(event) for event, wanted in zip(events, chosen, strict=True) if wanted]
        for first in range(0, len(some), 100):
            body = b"[" + b",".join(some[first : first + 100]) + b"]"
            accepted = len(some[first : first + 100])
            assert ok(client.post("/feedback", content=body))["accepted"] == accepted
        eventually(lambda: worked_off(rillet), lambda: rillet("status").stdout)


def ok(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.timeout(300)
def test_events_that_come_become_lists_that_go(
    service: Callable[..., httpx2.Client], start: Start, rillet: Rillet
) -> None:
    client = service()
    start("up")
    fill(client, rillet)
    assert ok(client.get("/ready")) | {"search": True} == {
        "redis": True,
        "kafka": True,
        "search": True,
    }
    _gorses_quickstart(client)
    _metaranks_demo(client)
    _a_query_becomes_part_of_the_session(client)
    _a_user_is_forgotten(client)


def _listed(client: httpx2.Client, user: str, least: int = 0) -> Callable[[], Any]:
    """Return what looks for a user's own list that knows of an event so late."""

    def look() -> Any:
        answer = client.post("/recommend", json={"user": user})
        if answer.status_code != 200 or answer.json()["origin"] != "list":
            return None
        return answer.json() if answer.json()["as_of"]["event_time"] >= least else None

    return look


def _gorses_quickstart(client: httpx2.Client) -> None:
    items = [one["item"] for one in ok(eventually_trending(client))["items"]]
    given = [
        {"FeedbackType": "star", "UserId": "bob", "ItemId": item, "Timestamp": "2026-01-20"}
        for item in items[:3]
    ]
    assert ok(client.post("/api/feedback", json=given)) == {"RowAffected": 3}
    eventually(_listed(client, "bob"), lambda: "bob has no list")
    listed = ok(client.get("/api/recommend/bob?n=5"))
    assert len(listed) == 5
    assert all(isinstance(one, str) for one in listed)


def eventually_trending(client: httpx2.Client) -> httpx2.Response:
    def there() -> httpx2.Response | None:
        answer = client.get("/trending")
        return answer if answer.status_code == 200 and answer.json()["items"] else None

    found: httpx2.Response = eventually(there, lambda: client.get("/trending").text)
    return found


def _metaranks_demo(client: httpx2.Client) -> None:
    """Rank, tell what was shown and clicked, rank again, as its quickstart does with curl."""
    items = [{"id": one["item"]} for one in ok(client.get("/trending?n=8"))["items"]]
    asked = {"id": "q1", "timestamp": 1790000000000, "user": "test", "session": "test"}
    form = {"content-type": "application/x-www-form-urlencoded"}

    def rank() -> Any:
        event = json.dumps({"event": "ranking", "items": items, "fields": [], **asked})
        return client.post("/rank/xgboost", content=event, headers=form)

    eventually(lambda: rank().status_code == 200, lambda: rank().text)
    before = ok(rank())
    assert {one["item"] for one in before["items"]} == {one["id"] for one in items}
    shown = {"event": "ranking", "items": items, "fields": [], **asked, "id": "test-ranking"}
    last = before["items"][-1]["item"]
    clicked = {
        **{"event": "interaction", "type": "click", "fields": [], "id": "test-interaction"},
        **{"ranking": "test-ranking", "item": last, "user": "test", "session": "test"},
        "timestamp": "1790000001000",
    }
    for event in (shown, clicked):
        found = ok(client.post("/feedback", content=json.dumps(event), headers=form))
        assert (found["accepted"], found["status"], found["updated"]) == (1, "ok", 0)

    def changed() -> bool:
        return bool([o["score"] for o in ok(rank())["items"]] != scores)

    scores = [one["score"] for one in before["items"]]
    eventually(changed, lambda: "the click changed nothing")


def _a_query_becomes_part_of_the_session(client: httpx2.Client) -> None:
    before = ok(client.get("/session/bob"))["events"]
    found = ok(client.post("/recommend", json={"query": "rug", "user": "bob", "top_n": 3}))
    assert (found["origin"], len(found["items"])) == ("search", 3)
    eventually(
        lambda: ok(client.get("/session/bob"))["events"] == before + 1,
        lambda: client.get("/session/bob").text,
    )


def _a_user_is_forgotten(client: httpx2.Client) -> None:
    assert ok(client.delete("/users/bob"), 202) == {"user": "bob", "status": "ordered"}

    def gone() -> bool:
        return client.get("/session/bob").status_code == 404

    eventually(gone, lambda: client.get("/session/bob").text)
    # Who is gone has a list, too: that of somebody of whom nothing is known.
    listed = ok(client.post("/recommend", json={"user": "bob", "explain": True}))["items"]
    assert [why for one in listed for why in one.get("reasons", []) if "item" in why] == []


def test_events_of_many_at_once_are_all_stored(service: Callable[..., httpx2.Client]) -> None:
    """Acknowledged means stored: as many lie in Kafka as were accepted."""
    from concurrent.futures import ThreadPoolExecutor

    client = service("--no-search")

    def send(number: int) -> int:
        event = {"event": "search", "user": f"u{number}", "query": "rug", "id": f"e{number}"}
        return int(ok(client.post("/feedback", json=event))["accepted"])

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(send, range(200))) == 200
    text = client.get("/metrics").text
    assert "rillet_http_events_published_total 200.0" in text
    assert 'rillet_http_requests_total{method="POST",route="/feedback",status="200"} 200.0' in text


def test_what_a_topic_does_not_take_fails_its_sender_alone(
    service: Callable[..., httpx2.Client], variables: dict[str, str]
) -> None:
    """The broker takes less than we may send: its client ends with the record it refuses."""
    from concurrent.futures import ThreadPoolExecutor

    variables["RILLET_KAFKA__MAX_RECORD_BYTES"] = "3000000"
    variables["RILLET_BATCH__MAX_BYTES"] = "3000000"
    variables["RILLET_SERVE__MAX_BODY_BYTES"] = "4000000"
    client = service("--no-search")
    fields = [
        {"name": f"n{n}", "value": [os.urandom(300).hex() for _ in range(60)]} for n in range(60)
    ]

    def send(number: int) -> int:
        event = {"event": "search", "user": f"u{number}", "query": "rug"}
        if number == 20:
            return client.post("/feedback", json={**event, "fields": fields}).status_code
        return client.post("/feedback", json=event).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(send, range(40)))
    assert statuses == [503 if number == 20 else 200 for number in range(40)]


@pytest.mark.timeout(SCHEMATHESIS_S + 200)
def test_no_request_that_can_be_made_up_breaks_it(
    service: Callable[..., httpx2.Client], start: Start, rillet: Rillet, tmp_path: Path
) -> None:
    """By schemathesis, all its checks: no 5xx, no answer that is not as documented."""
    client = service()
    start("up")
    fill(client, rillet)
    eventually(lambda: ok(client.get("/ready"))["search"], lambda: "search is not loaded")
    (tmp_path / "schemathesis.toml").write_text(RULES, "utf-8")
    command = [
        *(str(SCHEMATHESIS), "run", f"{client.base_url}/openapi.json"),
        *("-H", f"Authorization: Bearer {KEY}", "--max-time", str(SCHEMATHESIS_S)),
        *("--checks", "all", "--continue-on-failure", "--no-color"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        text=True,
        cwd=tmp_path,
        timeout=SCHEMATHESIS_S + 120,
    )
    said = tmp_path / "schemathesis.log"
    said.write_text(done.stdout, "utf-8")
    assert done.returncode == 0, f"{said}\n{done.stdout[-8000:]}{done.stderr[-2000:]}"
