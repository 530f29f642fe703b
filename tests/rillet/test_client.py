from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rillet import BadEventError, Client, NothingYetError
from stream.errors import SettingsError, StoreError
from stream.settings import load_settings


@pytest.fixture
def client(kept: Any) -> Iterator[Client]:
    with Client(kept.settings) as one:
        yield one


@pytest.fixture
def known(client: Client) -> str:
    return min(name for name, _ in client.store.scan("recs") if name != "*default*")


def test_it_reads_a_list(client: Client, known: str) -> None:
    answer = client.recommend(known, 3)
    assert answer.user == known
    assert len(answer.items) == 3
    assert answer.items == client.recommend(known).items[:3]


def test_a_stranger_gets_the_default_list(client: Client) -> None:
    answer = client.recommend("stranger")
    assert answer.user == "*default*"
    assert [one.item for one in client.trending()] == [one.item for one in answer.items]


def test_without_any_list_it_says_so() -> None:
    with Client(load_settings(redis={"url": "embedded:"})) as client:
        with pytest.raises(NothingYetError) as caught:
            client.recommend("anybody")
    assert "rillet up" in caught.value.mend


def test_it_reads_what_is_known_of_a_user(client: Client, known: str) -> None:
    session = client.session(known)
    assert session is not None
    assert session.user == known
    assert session.events > 0
    assert client.session("stranger") is None


def test_it_reads_cards(client: Client) -> None:
    listed = client.trending(2)
    card = client.item(listed[0].item)
    assert card is not None
    assert card.title
    assert client.item("no-such-item") is None
    assert list(client.items(["no-such-item", listed[0].item])) == [listed[0].item]


def test_it_reads_what_follows_an_item(client: Client) -> None:
    lists = [client.similar(name, 3) for name, _ in client.store.scan("neighbours")]
    found = next(one for one in lists if one)
    assert found[0].weight >= found[-1].weight > 0
    assert client.similar("no-such-item") == []


def test_a_value_of_another_version_is_an_error_of_ours(client: Client) -> None:
    from stream.errors import RilletError
    from stream.writes import Plain

    store = client.store
    store.write_plain([Plain(store.keys.session("odd"), b"[1]", 10_000)])
    with pytest.raises(RilletError, match="cannot be read"):
        client.session("odd")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"event": "interaction", "type": "view", "user": "u"}, "item"),
        ({"event": "interaction", "type": "view", "user": "*default*", "item": "i"}, "reserved"),
        ({"event": "view", "user": "u"}, "Invalid value"),
        ({"event": "search", "user": "u", "query": {1, 2}}, "query"),
        ({"event": "search", "user": "u", "query": object()}, "cannot be written"),
    ],
)
def test_what_is_no_event_is_refused_before_anything_is_sent(
    event: dict[str, Any], message: str
) -> None:
    client = Client(load_settings(kafka={"bootstrap": "127.0.0.1:1"}))
    with pytest.raises(BadEventError, match=message):
        client.publish([{"event": "search", "user": "u", "query": "tea"}, event])


def test_reading_without_redis_fails_soon() -> None:
    with Client(load_settings(redis={"url": "redis://127.0.0.1:1/0"})) as client:
        with pytest.raises(StoreError):
            client.recommend("u")


def test_a_missing_settings_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        Client(tmp_path / "none.toml")


def test_it_reads_a_settings_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[redis]\nprefix = "shop"\n')
    assert Client(str(tmp_path / "a.toml")).settings.redis.prefix == "shop"


@pytest.mark.parametrize("module", ["rillet", "rillet.client", "rillet.cli.main"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "kafka", "redis", "transformers", "river", "matplotlib")
    program = f"import sys, {module}; print([n for n in {heavy!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import rillet

    with pytest.raises(AttributeError, match="Klient"):
        rillet.__getattr__("Klient")
