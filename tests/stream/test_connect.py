"""What an URL of Redis says, and that no part of it comes back in a message."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest

from stream.cluster import Cluster
from stream.connect import connect
from stream.errors import StoreError
from stream.restarts import Restarts
from stream.settings import RedisSettings, load_settings
from stream.store import Store


def told(url: str, **settings: Any) -> Any:
    """Return where an URL leads, not connected."""
    restarts = Restarts(ConnectionError, ValueError)
    return connect(RedisSettings(url=url, **settings), url, restarts)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pw@h:1/3", "redis://h:1/3"),
        ("redis://h", "redis://h:6379/0"),
        ("rediss://u:pw@h/0?socket_timeout=2", "rediss://h:6379/0"),
        ("unix:///tmp/r.sock", "unix:///tmp/r.sock"),
        ("redis+cluster://a:1,b", "redis+cluster://a:1,b:6379"),
        ("redis+cluster://u:p%40%2C@a:1,[::1]:2/0", "redis+cluster://a:1,[::1]:2"),
        ("rediss+cluster://a", "rediss+cluster://a:6379"),
        ("redis+sentinel://a,b:2/shop", "redis+sentinel://a:26379,b:2/shop"),
        (
            "rediss+sentinel://:pw@a/my%20shop/2?socket_timeout=1",
            "rediss+sentinel://a:26379/my shop",
        ),
    ],
)
def test_every_form_is_understood_and_shown_without_its_secrets(url: str, shown: str) -> None:
    assert told(url).url == shown


def options(server: Any) -> dict[str, Any]:
    if isinstance(server, Cluster):
        return server._options
    found: dict[str, Any] = server.client.connection_pool.connection_kwargs
    return found


@pytest.mark.parametrize("form", ["redis://{}h/0", "redis+cluster://{}h", "redis+sentinel://{}h/m"])
def test_the_url_names_the_user_else_the_settings_do(form: str) -> None:
    by_url = options(told(form.format("a:b%40c@"), username="x", password="y"))
    assert (by_url["username"], by_url["password"]) == ("a", "b@c")
    by_settings = options(told(form.format(""), username="x", password="y"))
    assert (by_settings["username"], by_settings["password"]) == ("x", "y")


def test_sentinels_get_their_own_password_and_never_the_masters() -> None:
    server = told("redis+sentinel://u:data@h/m/2", sentinel_password="watch")
    assert options(server)["db"] == 2
    manager = server.client.connection_pool.sentinel_manager
    asked = manager.sentinels[0].connection_pool.connection_kwargs
    assert (asked["username"], asked["password"]) == (None, "watch")


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@h",
        "hunter2",
        "redis://:hun/ter2@h",
        "redis://:hunter2@h:port/0",
        "redis://:hunter2@h/name",
        "redis://:hunter2@h/0?socket_timeout=hunter2",
        "redis://:hunter2@h/0?colour=hunter2",
        "redis+cluster://",
        "redis+cluster://:hunter2@a:x",
        "redis+cluster://:hunter2@a,,b",
        "redis+cluster://:hunter2@a/3",
        "redis+cluster://:hunter2@a?colour=hunter2",
        "redis+ring://:hunter2@a",
        "redis+sentinel://:hunter2@a",
        "redis+sentinel://:hunter2@a/m/?colour=hunter2",
        "unix+cluster://:hunter2@a",
    ],
)
def test_a_malformed_url_is_refused_and_no_part_of_it_is_repeated(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(StoreError) as caught:
        Store(RedisSettings(url=url), retry_s=0)
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.mend + caplog.text
    assert "redis.url" in shown
    assert "hunter2" not in shown
    assert "ter2" not in shown


def test_an_option_of_the_url_wins() -> None:
    for form in ("redis://h/0?socket_timeout=2", "redis+cluster://h?socket_timeout=2"):
        assert options(told(form, timeout_s=9))["socket_timeout"] == 2
        assert options(told(form, timeout_s=9))["socket_connect_timeout"] == 9


@pytest.mark.parametrize("form", ["redis://{}/0", "redis+cluster://{}", "redis+sentinel://{}/m"])
def test_whoever_is_away_is_named_without_secrets(
    form: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = load_settings(
        redis={"url": form.format("u:hunter2@127.0.0.1:1"), "sentinel_password": "hunter2"}
    ).redis
    store = Store(settings, retry_s=0.2)
    store.wait = lambda _: None
    with pytest.raises(StoreError) as caught:
        store.get("x")
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(settings)
    assert "127.0.0.1:1" in str(caught.value)
    assert "hunter2" not in shown + repr(store) + repr(store._server)
    store.close()


def test_no_setting_with_a_secret_is_shown() -> None:
    secret = {"password": "hunter2", "sentinel_password": "hunter2", "ssl_key_password": "hunter2"}
    settings = load_settings(redis={**secret, "url": "redis://:hunter2@h/0"})
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_certificates_without_tls_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    with pytest.raises(StoreError, match=r"redis\.ssl_ca: there is no file"):
        told("rediss://h/0", ssl_ca=str(file))
    file.touch()
    assert told("rediss://h/0", ssl_ca=str(file)).url == "rediss://h:6379/0"
    with pytest.raises(StoreError, match="asks for no TLS") as caught:
        told("redis+cluster://h", ssl_ca=str(file))
    assert "rediss" in caught.value.mend


def test_a_redis_of_ones_own_asks_for_no_password() -> None:
    store = Store(RedisSettings(url="embedded:", username="u", password="hunter2"), retry_s=0)
    assert store.get("x") is None
    store.close()
