"""A shop that is replayed, and a ranker that reads what the replay has written."""

from __future__ import annotations

from pathlib import Path

from consumers.replay import Replay
from features.text import Encoder
from rillet.serving.answer import Ranked
from rillet.serving.ranker import Ranker
from stream.events import Event
from stream.settings import Settings
from stream.store import Store
from tests.builders import DAY, NOON, item, write_log

__all__ = ["FOREIGN", "Shop", "ids"]

FOREIGN: list[Event] = [
    item("ja1", NOON - DAY, title="東京タワーの写真集", category="本"),
    item("ja2", NOON - DAY, title="京都の地図", category="本"),
    item("zh1", NOON - DAY, title="智能手表 运动版", category="手表"),
    item("mix", NOON - DAY, title="iPhone15用ケース", category="ケース"),
]


class Shop:
    """An engine that can be fed, and a ranker that reads it."""

    def __init__(self, folder: Path, url: str, encoder: Encoder, prefix: str) -> None:
        self.folder = folder
        self.settings = Settings.model_validate({"redis": {"url": url, "prefix": prefix}})
        self.store = Store(self.settings.redis, retry_s=0.0)
        self.replay = Replay(self.settings, self.store, encoder)
        self.ranker = Ranker(self.settings, self.store, encoder=encoder)

    def feed(self, *events: Event) -> None:
        self.replay.run(write_log(self.folder / "events.jsonl", events))

    def written(self) -> dict[bytes, bytes]:
        return {key: self.store._redis.dump(key) for key in self.store._redis.keys("*")}


def ids(found: list[Ranked]) -> list[str]:
    return [one.item for one in found]
