"""Replay a made-up shop without any server, and look at what was learned.

python examples/replay_and_inspect.py
python examples/replay_and_inspect.py events.jsonl.gz
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from consumers.replay import Replay, source_names, time_at
from features.text import load_encoder
from models.evaluation import Evaluation
from rillet import Client
from rillet.simulate import Plan, World
from stream.events import encode
from stream.log import LogWriter, read_log
from stream.settings import load_settings
from stream.store import Store


def simulated(path: Path) -> Path:
    """Write the log of a small shop."""
    with LogWriter(path) as log:
        for event in World(Plan(seed=7, users=60, items=300, days=2)).events():
            log.write(encode(event))
    return path


def main(folder: Path, log: Path) -> None:
    """Replay, print what each source is worth, then read somebody's list."""
    settings = load_settings(redis={"url": f"embedded:{folder / 'redis'}"})
    evaluation = Evaluation(time_at(read_log(log), 0.5), source_names(settings))
    store = Store(settings.redis)
    try:
        engine = Replay(settings, store, load_encoder(settings.encoder), evaluation=evaluation)
        report = engine.run(log).report()
        for name, figures in report["next"]["strict"].items():
            print(f"{name:<20} HR@10 {figures['hr@10']:.3f}")
        with Client(settings) as client:
            someone = next(name for name, _ in store.scan("session") if client.session(name))
            for listed in client.recommend(someone, 5).items:
                card = client.item(listed.item)
                print(f"{someone}: {listed.item} {card.title if card else ''}")
    finally:
        store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rillet-") as home:
        given = [Path(argument) for argument in sys.argv[1:]]
        main(Path(home), given[0] if given else simulated(Path(home, "events.jsonl.gz")))
