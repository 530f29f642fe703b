"""What the documentation gives to a role of Redis, its commands can do with no right more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from rillet.cli.main import app
from rillet.client import Client
from stream.deadletters import dead_letter
from stream.errors import StoreError
from stream.events import BadRecord
from stream.kafka import KafkaSink
from stream.records import Record
from stream.settings import RedisSettings, Settings, load_settings
from stream.store import Store
from stream.topics import ensure_topics
from tests.integration.live import Start, eventually
from tests.integration.test_redis_access import Ending, Guarded, ending, guarded

__all__ = ["Ending", "ending", "guarded"]

WHO, OTHER = "zanzibar-17", "quetzal-4"
REPLAY = ("deadletters", "replay", "--all")


def told(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exception is None, f"{done.exception!r} {done.stdout}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def set_aside(settings: Settings) -> None:
    """Put a record on the dead-letter topic that is an event by now."""
    kafka = settings.kafka
    raw = b'{"event":"search","user":"%s","query":"tea","timestamp":1795545000000}' % OTHER.encode()
    record = Record(kafka.events, 0, 10**6, OTHER.encode(), raw)
    sink = KafkaSink(kafka)
    sink.send(dead_letter(BadRecord("future", "", "as it was", raw), record, kafka.deadletters))
    sink.flush()
    sink.close()


def test_the_consumers_user_may_forget_and_replay_dead_letters_and_the_operators_not(
    guarded: Guarded,
    settings: Settings,
    variables: dict[str, str],
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def become(role: str) -> None:
        for name, value in guarded.settings(role).items():
            variables[f"RILLET_REDIS__{name.upper()}"] = value
            monkeypatch.setenv(f"RILLET_REDIS__{name.upper()}", value)

    ensure_topics(settings.kafka)
    become("rillet-consumer")
    running = start("consume", "personalize")
    prefix = settings.redis.prefix
    store = Store(RedisSettings(**guarded.settings("rillet-consumer", prefix=prefix)), retry_s=0)
    store.add_changes([b"a change"])  # a stream, which the scan reads too
    with Client(load_settings()) as client:
        client.publish({"event": "interaction", "type": "view", "user": WHO, "item": "a"})
    eventually(lambda: store.get(store.keys.recs(WHO)), running.said)

    set_aside(settings)
    assert told(*REPLAY)["sent"] == 1
    assert told(*REPLAY)["before"] == 1
    eventually(lambda: store.get(store.keys.session(OTHER)), running.said)
    report = told("forget", WHO, "--verify", "--wait", "60")
    assert (report["handled"], report["left"], report["problems"]) == (True, [], [])
    assert (report["lists"], store.get(store.keys.session(WHO))) == (1, None)
    assert running.end() == 0
    guarded.refusals_are([])

    become("rillet-operator")
    for words in ([*REPLAY, "--again"], ["forget", OTHER, "--offline"]):
        done = CliRunner().invoke(app, words)
        assert isinstance(done.exception, StoreError)
        assert "docs/security.md" in done.exception.mend
    assert store.get(store.keys.session(OTHER))
    store.close()
