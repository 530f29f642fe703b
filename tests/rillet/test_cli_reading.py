from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rillet import Client
from rillet.words import ago
from stream.settings import Settings
from tests.rillet.conftest import rillet


@pytest.fixture
def known(kept: Any) -> str:
    """A user who has a list of his own."""
    with Client(kept.settings) as client:
        users = [name for name, _ in client.store.scan("recs") if name != "*default*"]
    return min(users)


def test_a_list_is_shown_with_titles_and_reasons(kept: Any, known: str, command: Any) -> None:
    done = command("recommend", known, "-n", "3", "--redis", kept.redis)
    assert done.returncode == 0, done.stderr
    assert "because" in done.stdout
    assert "by blend-" in done.stdout


def test_a_list_as_json_is_what_lies_in_redis(kept: Any, known: str, command: Any) -> None:
    done = command("recommend", known, "-n", "2", "--json", "--redis", kept.redis)
    answer = json.loads(done.stdout)
    assert answer["user"] == known
    assert len(answer["items"]) == 2
    assert {"item", "score", "reasons"} == set(answer["items"][0])


def test_a_stranger_gets_the_list_for_everybody_and_is_told(kept: Any, command: Any) -> None:
    done = command("recommend", "stranger", "--redis", kept.redis)
    assert done.returncode == 0
    assert "nobody knows stranger yet" in done.stdout


def test_an_empty_redis_says_what_to_do(command: Any) -> None:
    done = command("recommend", "anybody", "--redis", "embedded:")
    assert done.returncode == 2
    assert "rillet up" in done.stderr


@pytest.mark.parametrize("arguments", [["recommend", "a"], ["explain", "a", "i"], ["status"]])
def test_a_state_folder_that_is_not_there_is_not_made(
    arguments: list[str], command: Any, tmp_path: Path
) -> None:
    done = command(*arguments, "--redis", f"embedded:{tmp_path}/s")
    assert done.returncode == 2
    assert f"there is no state folder {tmp_path}/s" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_listed_item_is_explained(kept: Any, known: str, command: Any) -> None:
    with Client(kept.settings) as client:
        first = client.recommend(known).items[0].item
    done = command("explain", known, first, "--redis", kept.redis)
    assert done.returncode == 0
    assert "place 1 of" in done.stdout
    found = json.loads(command("explain", known, first, "--json", "--redis", kept.redis).stdout)
    assert found["place"] == 1
    assert found["reasons"]


def test_a_listed_item_without_reasons_is_said_to_have_none(
    kept: Any, known: str, command: Any
) -> None:
    with Client(kept.settings) as client:
        listed = client.recommend(known, 1000).items
    assert [bool(one.reasons) for one in listed] == [place < 10 for place in range(len(listed))]
    done = command("explain", known, listed[10].item, "--redis", kept.redis)
    assert done.returncode == 0
    assert "place 11 of" in done.stdout
    assert "recommend.explained" in done.stdout
    assert command("recommend", known, "-n", "20", "--redis", kept.redis).returncode == 0


def test_an_unknown_item_is_explained_too(kept: Any, known: str, command: Any) -> None:
    done = command("explain", known, "no-such-item", "--redis", kept.redis)
    assert done.returncode == 1
    assert "unknown: no item event" in done.stdout


def test_an_item_that_is_not_listed_says_why_not(kept: Any, known: str, command: Any) -> None:
    with Client(kept.settings) as client:
        listed = {one.item for one in client.recommend(known, 1000).items}
        items = sorted(name for name, _ in client.store.scan("item"))
    left = next(item for item in items if item not in listed)
    done = command("explain", known, left, "--json", "--redis", kept.redis)
    assert done.returncode == 1
    assert "other items had a better chance" in json.loads(done.stdout)["why_not"][-1]


def test_where_a_list_is_short_no_other_item_had_a_better_chance(kept: Any, known: str) -> None:
    longer = {"RILLET_RECOMMEND__LENGTH": "1000"}
    with Client(kept.settings) as client:
        listed = {one.item for one in client.recommend(known, 1000).items}
        items = sorted(name for name, _ in client.store.scan("item"))
    left = next(item for item in items if item not in listed)
    done = rillet("explain", known, left, "--json", "--redis", kept.redis, **longer)
    (*_, last) = json.loads(done.stdout)["why_not"]
    assert "better chance" not in last


@pytest.mark.parametrize(
    ("ms", "words"),
    [(0, "0 s ago"), (119_000, "119 s ago"), (3_600_000, "60 min ago"), (-5, "in the future")],
)
def test_lengths_of_time_are_said_in_words(ms: float, words: str) -> None:
    assert ago(ms) == words


def test_the_default_prefix_is_what_the_docs_say() -> None:
    assert Settings().redis.prefix == "rillet"
