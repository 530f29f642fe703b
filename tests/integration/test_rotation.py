"""Secrets that change: raw ids become pseudonyms, these others, and all of them are forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from features.session import Session, decode_session
from features.tombstone import decode_tombstone, is_shell
from models.answer import decode_answer
from rillet.cli.main import app
from rillet.client import Client
from stream.archive.reader import read_archive
from stream.errors import LogError
from stream.kafka import KafkaSink
from stream.pseudonyms import pseudonyms_of
from stream.records import Outgoing
from stream.scanning import Sought, in_archive, in_redis
from stream.settings import Settings, load_settings
from stream.store import Store
from stream.topics import ensure_topics, read_topic
from tests.integration.live import Running, Start, eventually

WHO, OTHER = "zanzibar-17", "quetzal-4"
SECRETS = ("the first long secret", "the second long secret", "the third long secret")


class Place:
    """One installation: its consumers know no secret, its applications one after another."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch, users: Path) -> None:
        self.store = Store(settings.redis, retry_s=30)
        self.settings, self._patch, self._users = settings, patch, users
        self.said: Callable[[], str] = str
        users.write_text(f"{WHO}\n")

    def secrets(self, now: str, before: str = "") -> str:
        """Change the applications' secrets; return his name from now on."""
        for name, value in (("KEY", now), ("OLD_KEY", before)):
            variable = f"RILLET_PRIVACY__{name}"
            self._patch.setenv(variable, value) if value else self._patch.delenv(variable, False)
        self.settings = load_settings()
        return pseudonyms_of(self.settings.privacy).of(WHO)

    def does(self, *events: dict[str, Any], user: str = WHO) -> None:
        with Client(self.settings) as client:
            client.publish([{"user": user, **event} for event in events])

    def state(self, name: str) -> Session | None:
        raw = self.store.get(self.store.keys.session(name))
        return decode_session(raw) if raw else None

    def settled(self, name: str, events: int) -> Session:
        """Wait until so many events are in a state that has its list; return it."""

        def found() -> Session | None:
            state = self.state(name)
            listed = self.store.get(self.store.keys.recs(name))
            return state if state and state.events >= events and listed else None

        state = eventually(found, self.said)
        assert isinstance(state, Session)
        return state

    def gone_since(self, name: str) -> int:
        """Return up to when somebody is forgotten, or was handed over."""
        raw = self.store.get(self.store.keys.forgotten(name))
        return decode_tombstone(raw).forgotten if raw else 0

    def rotate(self, *options: str) -> None:
        done = run("privacy", "rotate", "--users", str(self._users), *options)
        assert (done[0], json.loads(done[1])) == (0, {"users": 1})

    def rotates_again(self, old: str, *options: str) -> None:
        """Give the command once more, and wait until the old name was handed over again."""
        before = self.gone_since(old)
        self.rotate(*options)
        eventually(lambda: self.gone_since(old) > before, self.said)


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def forget(user: str, *options: str) -> tuple[int, dict[str, Any]]:
    code, said = run("forget", user, "--verify", "--wait", "60", *options)
    return code, json.loads(said)


@pytest.fixture
def url(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Where the archive lies."""
    for name, value in (("URL", str(tmp_path / "archive")), ("MAX_S", "1")):
        variables[f"RILLET_ARCHIVE__{name}"] = value
        monkeypatch.setenv(f"RILLET_ARCHIVE__{name}", value)
    return str(tmp_path / "archive")


@pytest.fixture
def place(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    ensure_topics(settings.kafka)
    one = Place(load_settings(), monkeypatch, tmp_path / "users.txt")
    yield one
    one.store.close()


def view(item: str) -> dict[str, Any]:
    return {"event": "interaction", "type": "view", "item": item}


def buy(item: str) -> dict[str, Any]:
    return {"event": "interaction", "type": "purchase", "item": item}


def a_life() -> list[dict[str, Any]]:
    """Return events by which every part of a state has something in it."""
    shown = {"event": "ranking", "id": "r1", "items": [{"id": name} for name in "abc"]}
    profile = {"event": "user", "fields": [{"name": "age", "value": 33}]}
    return [profile, view("a"), shown, buy("b"), {"event": "search", "query": "tea"}]


def handed_over(before: Session, after: Session) -> None:
    """Hold a state against the one that it was made of, as the documentation promises."""
    kept = ("items", "times", "types", "signs")
    for name in kept:
        assert getattr(after.history, name) == getattr(before.history, name), name
    assert after.owned.items.keys() == before.owned.items.keys() == {"a", "b"}
    assert after.ignored.items.keys() == before.ignored.items.keys() != set()
    assert after.impressions == before.impressions
    assert after.situation.query == before.situation.query == "tea"
    assert after.positives == before.positives
    assert before.windows.totals
    assert (after.windows.totals, after.windows.days, after.situation.profile) == ({}, {}, {})


def bad_record_of(user: str, settings: Settings) -> None:
    sink = KafkaSink(settings.kafka)
    sink.send(Outgoing(settings.kafka.events, f"{user}, broken".encode()))
    sink.flush()
    sink.close()


def names_in(url: str) -> set[str]:
    """Return who has rows in the archive that count."""
    try:
        batches = list(read_archive(url, columns=["user"]))
    except LogError:  # not begun
        return set()
    return {name for batch in batches for name in batch.column("user").to_pylist() if name}


def started(place: Place, start: Start, *names: str) -> list[Running]:
    running = [start("consume", name) for name in names]
    place.said = lambda: "\n".join(one.said() for one in running)
    return running


def test_raw_ids_then_two_rotations_and_he_is_forgotten_by_all_names(
    url: str, place: Place, start: Start
) -> None:
    running = started(place, start, "personalize", "archive")
    place.does(*a_life())
    bad_record_of(WHO, place.settings)
    names, states = [WHO], [place.settled(WHO, 5)]
    for at, secret in enumerate(SECRETS):
        options = [] if at else ["--from-raw"]
        names.append(place.secrets(secret, SECRETS[at - 1] if at else ""))
        place.rotate(*options)
        states.append(place.settled(names[-1], 1))
        assert states[-1].history.items == ["a", "b", *"c" * at]
        place.rotates_again(names[-2], *options)
        assert place.state(names[-1]) == states[-1]
        for name in names[:-1]:
            old = place.state(name)
            assert old is not None and is_shell(old)
            strangers = decode_answer(place.store.get(place.store.keys.recs(name)) or b"")
            assert not any(why.item for one in strangers.items for why in one.reasons)
        place.does(view("c"))
        place.settled(names[-1], 2)
    handed_over(*states[:2])
    place.secrets(SECRETS[-1])  # the old ones are gone
    eventually(lambda: names_in(url) >= set(names), place.said)
    with Client(place.settings) as client:
        session = client.session(WHO)
    assert session is not None
    assert session.history.items == ["a", "b", "c", "c", "c"]

    code, report = forget(WHO)
    assert (code, report["left"], report["problems"]) == (0, [], [])
    assert (report["names"], report["lists"], report["dead_letters"]) == ([names[-1]], 1, 1)
    assert [*in_archive(url, Sought(names))] == []
    assert [*in_redis(place.store, Sought([WHO, names[-1]]))] == []
    assert list(read_topic(place.settings.kafka, place.settings.kafka.deadletters)) == []
    for one in running:
        assert one.end() == 0


def test_while_both_secrets_are_known_both_names_are_forgotten(place: Place, start: Start) -> None:
    (running,) = started(place, start, "personalize")
    place.does(view("r"), user=OTHER)  # from before there was a secret
    old = place.secrets(SECRETS[0])
    place.does(view("a"), view("b"))
    new = place.secrets(SECRETS[1], SECRETS[0])
    place.does(view("c"))
    for name, events in ((old, 2), (new, 1), (OTHER, 1)):
        place.settled(name, events)
    code, report = forget(WHO)
    assert (code, report["left"], report["problems"]) == (0, [], [])
    assert (report["names"], report["events"], report["lists"]) == ([new, old], 3, 2)
    assert place.state(new) is None and place.state(old) is None

    time.sleep(0.002)  # later than the forgetting: a new life, and under the new name alone
    place.does(view("d"))
    assert place.settled(new, 1).history.items == ["d"]
    assert place.state(old) is None

    keys = place.store.keys
    code, report = forget(OTHER)
    assert (code, sorted(report["left"])) == (1, [keys.recs(OTHER), keys.session(OTHER)])
    assert running.end() == 0
    code, report = forget(OTHER, "--offline")
    assert (code, report["left"], report["events"]) == (0, [], 1)
