"""Models are promoted, and broken ones offered, while events come: on real servers, by commands."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from features.session import decode_session
from features.text import load_encoder
from models.answer import decode_answer
from models.manifest import WEIGHTS
from models.registry import Registry
from rillet import Client
from stream.events import Event, Millis, encode
from stream.log import LogWriter
from stream.metrics import Pulse
from stream.settings import Settings
from stream.store import Store
from tests.builders import write_log
from tests.consumers.small_log import the_items
from tests.consumers.trained import a_job, small, visits
from tests.integration.live import Rillet, Start, eventually, verify, worked_off

EVERY_S = 0.01


def the_models(home: Path, settings: Settings, store: Store) -> list[str]:
    """Train a model on what lies in Redis; return it and two copies, and one of another shape."""
    groups = small(home, transformer={"epochs": 1}, training={"registry": str(home / "trained")})
    ours = Settings.model_validate(groups | {"redis": settings.redis})
    outcome = a_job(ours, store, load_encoder(ours.encoder)).run(visits())
    assert outcome is not None
    files, manifest = Registry(str(home / "trained")).load_files(outcome.version)
    arrays, _ = Registry(str(home / "trained")).load(outcome.version)
    rest = {name: raw for name, raw in files.items() if name != WEIGHTS}
    registry = Registry(str(home / "models"))  # nothing is promoted in it
    versions = []
    for n in range(4):
        changed = {name: array * (1 + array.dtype.type(0.01 * n)) for name, array in arrays.items()}
        config = manifest.config | ({"dim": 32} if n == 3 else {})
        versions.append(registry.add(changed, replace(manifest, config=config), rest))
    return versions


class Load:
    """Events that come and come, until it is told to stop; each is noted."""

    def __init__(self, settings: Settings) -> None:
        self.published: list[Event] = []
        self._settings, self._stop = settings, threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def _publish(self) -> None:
        with Client(self._settings) as client:
            for event in self._endless():
                if self._stop.wait(EVERY_S):
                    return
                client.publish(event)
                self.published.append(event)

    def _endless(self) -> Iterator[Event]:
        seed = 0
        while True:
            for event in visits(seed=seed):
                name = f"{seed}-{event.id}" if event.id else None
                yield replace(event, timestamp=Millis(time.time_ns() // 1_000_000), id=name)
            seed += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def models_in(store: Store) -> set[str]:
    """Return the trained models that users' lists were made with."""
    return {decode_answer(raw).model.partition("+")[2] for _, raw in store.scan("recs")}


def events_in(store: Store) -> dict[str, int]:
    """Return how many events are in each user's state."""
    return {user: decode_session(raw).events for user, raw in store.scan("session")}


def refused(store: Store) -> int:
    pulses = [msgspec.json.decode(raw, type=Pulse) for _, raw in store.scan("process")]
    return sum(one.counters.get("models.refused", 0) for one in pulses)


@pytest.fixture
def registry(variables: dict[str, str], tmp_path: Path) -> str:
    """Where the models are, for this test's processes."""
    variables["RILLET_TRAINING__REGISTRY"] = str(tmp_path / "models")
    return variables["RILLET_TRAINING__REGISTRY"]


def test_swaps_under_load_lose_nothing_and_double_nothing(
    rillet: Rillet, start: Start, settings: Settings, store: Store, registry: str, tmp_path: Path
) -> None:
    assert rillet("init", "--topics").returncode == 0
    assert rillet("publish", str(write_log(tmp_path / "items.jsonl", the_items()))).returncode == 0
    up = start("up")
    eventually(lambda: len(dict(store.scan("item"))) == len(the_items()), up.said)
    first, second, touched, unusable = the_models(tmp_path, settings, store)
    file = Path(registry, touched, WEIGHTS)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    seen: set[str] = set()

    def shows(version: str) -> bool:
        seen.update(models_in(store))
        return version in seen

    with Load(settings) as load:
        assert rillet("models", "promote", first).returncode == 0
        eventually(lambda: shows(first), up.said)
        assert rillet("models", "promote", touched).returncode == 2
        assert rillet("models", "promote", unusable).returncode == 0  # its files are intact
        eventually(lambda: refused(store) == 1, up.said)
        before = len(load.published)
        eventually(lambda: len(load.published) > before + 50, up.said)
        assert models_in(store) <= {"", first}  # it goes on
        assert rillet("models", "promote", second).returncode == 0
        eventually(lambda: shows(second), up.said)
    published = Counter(one.user for one in load.published if hasattr(one, "user"))
    eventually(lambda: sum(events_in(store).values()) >= len(load.published), up.said)
    assert events_in(store) == published
    eventually(lambda: worked_off(rillet), up.said)
    assert seen == {"", first, second} or seen == {first, second}
    assert f"{unusable} is not served" in up.said()
    assert up.said().count("is not served") == 1

    states = {user: decode_session(raw) for user, raw in store.scan("session")}
    assert events_in(store) == published
    lists = {user: decode_answer(raw).as_of for user, raw in store.scan("recs")}
    assert {user: lists[user] for user in states} == {u: one.as_of for u, one in states.items()}
    with LogWriter(tmp_path / "all.jsonl") as log:
        for event in [*the_items(), *load.published]:
            log.write(encode(event))
    found = verify(rillet, tmp_path / "all.jsonl")
    assert [one for one in found.values() if one["wrong"]] == []
    assert found["session"]["equal"] == len(published)
    assert up.end() == 0, up.said()
