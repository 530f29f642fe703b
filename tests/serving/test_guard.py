"""Who is let in: keys, scopes, limits, browsers."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from starlette.testclient import TestClient

from rillet.serving.guard import check_binding, new_key
from stream.errors import SettingsError
from stream.serve_settings import ServeSettings
from stream.settings import load_settings
from tests.serving.conftest import Open, problem

Keys = dict[str, tuple[str, str]]

ASKED: list[tuple[str, str, str]] = [
    ("POST", "/recommend", "read"),
    ("POST", "/rank", "read"),
    ("POST", "/rank/xgboost", "read"),
    ("POST", "/recommend/xgboost", "read"),
    ("GET", "/similar/i1", "read"),
    ("GET", "/trending", "read"),
    ("GET", "/session/u", "read"),
    ("GET", "/api/recommend/u", "read"),
    ("GET", "/api/recommend/u/c1", "read"),
    ("GET", "/metrics", "read"),
    ("POST", "/feedback", "write"),
    ("POST", "/api/feedback", "write"),
    ("PUT", "/api/feedback", "write"),
    ("DELETE", "/users/u", "admin"),
]


@pytest.fixture
def locked(opened: Open, keys: Keys) -> TestClient:
    return opened(keys=[line for _, line in keys.values()])


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("method", "path", "scope"), ASKED)
def test_each_needs_a_key_with_its_scope(
    locked: TestClient, keys: Keys, method: str, path: str, scope: str
) -> None:
    answer = locked.request(method, path)
    problem(answer, 401, "no-key")
    assert answer.headers["www-authenticate"] == "Bearer"
    problem(locked.request(method, path, headers=bearer("rillet_wrong")), 401, "unknown-key")
    for other, (key, _) in keys.items():
        answer = locked.request(method, path, headers=bearer(key))
        if other == scope:
            assert answer.status_code not in (401, 403)
        else:
            problem(answer, 403, "wrong-scope")


def test_every_endpoint_is_among_those_tried(locked: TestClient) -> None:
    found = {
        (method.upper(), path)
        for path, methods in locked.get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    names = {"i1": "{item}", "xgboost": "{model}", "u": "{user}", "c1": "{category}"}
    tried = {
        (method, "/".join(names.get(part, part) for part in path.split("/")))
        for method, path, _ in ASKED
    }
    assert found - tried == {("GET", "/health"), ("GET", "/ready")}


def test_either_header_does(locked: TestClient, keys: Keys) -> None:
    key = keys["read"][0]
    for headers in ({"X-API-Key": key}, {"Authorization": f"bearer {key}"}):
        assert locked.get("/trending", headers=headers).status_code == 200
    problem(locked.get("/trending", headers={"Authorization": f"Basic {key}"}), 401, "no-key")


def test_of_two_keys_neither_is_overlooked(locked: TestClient, keys: Keys) -> None:
    both = {"X-API-Key": keys["read"][0], "Authorization": f"Bearer {keys['read'][0]}"}
    assert locked.get("/trending", headers=both).status_code == 200
    for header in both:
        wrong = both | {header: both[header][:-1]}
        problem(locked.get("/trending", headers=wrong), 401, "unknown-key")


def test_health_needs_none(locked: TestClient) -> None:
    assert locked.get("/health").json() == {"status": "ok"}


def test_who_is_not_let_in_has_nothing_of_his_body_read(locked: TestClient) -> None:
    answer = locked.post("/feedback", content=b"{ no JSON")
    problem(answer, 401, "no-key")


def test_a_user_is_forgotten_by_an_event_of_an_admin_alone(opened: Open) -> None:
    key, line = new_key(["write"])
    client = opened(keys=[line])
    event = {"event": "delete", "user": "u"}
    problem(client.post("/feedback", json=event, headers=bearer(key)), 403, "wrong-scope")


def test_a_key_is_long_and_random_and_only_its_hash_is_set() -> None:
    (one, line), (other, _) = new_key(["write", "read"]), new_key(["read"])
    assert one != other
    assert len(one) >= 43
    scopes, _, digest = line.partition(":")
    assert scopes == "read+write"
    assert digest == hashlib.sha256(one.encode()).hexdigest()
    assert ServeSettings(keys=(line,)).keys == (line,)


@pytest.mark.parametrize("scopes", [[], ["root"], ["read", ""]])
def test_a_key_has_scopes_that_there_are(scopes: list[str]) -> None:
    with pytest.raises(SettingsError):
        new_key(scopes)


@pytest.mark.parametrize("line", ["secret", "read:secret", "root:" + "0" * 64, "0" * 64])
def test_a_setting_that_is_no_digest_is_refused_and_not_shown(line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(serve={"keys": [line]})
    assert "serve.keys" in str(caught.value)
    assert line not in str(caught.value).replace("SCOPES:SHA256", "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "shop.example"])  # noqa: S104
def test_without_keys_nobody_else_is_listened_to(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_binding(ServeSettings(host=host))
    assert "--new-key" in caught.value.mend
    check_binding(ServeSettings(host=host, keys=(new_key(["read"])[1],)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_without_keys_this_machine_is(host: str) -> None:
    check_binding(ServeSettings(host=host))


def test_more_requests_than_allowed_are_told_when_to_come_back(opened: Open) -> None:
    client = opened(requests_per_minute=3)
    assert [client.get("/trending").status_code for _ in range(3)] == [200] * 3
    answer = client.get("/trending")
    problem(answer, 429, "too-many")
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert client.get("/health").status_code == 200


def test_keys_are_counted_apart(opened: Open) -> None:
    (one, first), (other, second) = new_key(["read"]), new_key(["read"])
    client = opened(requests_per_minute=1, keys=[first, second])
    found = [client.get("/trending", headers=bearer(key)).status_code for key in (one, other, one)]
    assert found == [200, 200, 429]


def test_guessing_keys_is_limited_by_address(opened: Open, keys: Keys) -> None:
    client = opened(requests_per_minute=2, keys=[keys["read"][1]])
    found = [client.get("/trending", headers=bearer(f"k{k}")).status_code for k in range(3)]
    assert found == [401, 401, 429]
    assert client.get("/trending", headers=bearer(keys["read"][0])).status_code == 200


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"Host": "evil.example"}, "wrong-host"),
        ({"Host": "127.0.0.1.evil.example:8080"}, "wrong-host"),
        ({"Origin": "https://evil.example"}, "wrong-origin"),
        ({"Host": "["}, "wrong-host"),
        ({"Origin": "null"}, "wrong-origin"),
        ({"Origin": "http://["}, "wrong-origin"),
        ({"Origin": "http://127.0.0.1:9999"}, "wrong-origin"),
    ],
)
def test_pages_of_others_cannot_use_the_open_service(
    client: TestClient, headers: dict[str, str], kind: str
) -> None:
    problem(client.post("/recommend", json={}, headers=headers), 403, kind)


def test_a_malformed_name_is_none_with_keys_either(locked: TestClient, keys: Keys) -> None:
    headers = bearer(keys["read"][0]) | {"Host": "["}
    problem(locked.get("/trending", headers=headers), 403, "wrong-host")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://127.0.0.1"}, {"Host": "localhost:8080"}, {"Host": "[::1]:8080"}],
)
def test_its_own_pages_can(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/recommend", json={}, headers=headers).status_code == 200


def test_cors_is_off_and_can_be_set(opened: Open) -> None:
    there: dict[str, Any] = {"headers": {"Origin": "https://shop.example"}}
    assert "access-control-allow-origin" not in opened().get("/trending", **there).headers
    client = opened(cors_origins=["https://shop.example"])
    answer = client.post("/recommend", json={}, **there)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    asked = {"Access-Control-Request-Method": "POST", "Origin": "https://evil.example"}
    answer = client.options("/recommend", headers=asked)
    assert "access-control-allow-origin" not in answer.headers
