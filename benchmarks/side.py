"""One side of ``benchmarks.against``: the engine of some commit, which replays what it is told to.

Run by path, with the root of a checkout as PYTHONPATH. It imports the engine alone, none of the
benchmarks, and of the engine what has been there for long: the checkout may be an old one.

It reads a request a line, ``PART LOG``, and answers each with a line of JSON after a mark, for
libraries may write to its output too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import redis

import consumers
from consumers.importing import Import
from consumers.replay import Replay
from features.text import TextEncoder, load_encoder
from stream.clock import SystemClock
from stream.settings import Settings
from stream.store import Store

MARK: Final = "::"
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def opened(stack: ExitStack, **more: Any) -> tuple[Settings, Store]:
    """Return settings with an embedded Redis, which ends with the stack."""
    settings = Settings.model_validate({"redis": {"url": "embedded:"}, **more})
    store = Store(settings.redis)
    stack.callback(store.close)
    return settings, store


class Engine:
    """A replay that goes on from log to log, with or without a Transformer.

    Parameters
    ----------
    warm
        Replayed first; at its end the Transformer is trained.
    """

    def __init__(
        self, warm: str, encoder: TextEncoder, stack: ExitStack, *, transformer: bool
    ) -> None:
        settings, self._store = opened(stack, transformer={"epochs": 1})
        lines = sum(1 for _ in Path(warm).open("rb"))
        every = lines if transformer else 0  # no other log has as many
        self._replay = Replay(settings, self._store, encoder, train_every=every)
        self._replay.run(warm)
        if transformer and not self._replay.tuned:
            raise RuntimeError("the warm-up was too short to train a Transformer on")

    def run(self, log: str) -> dict[str, float]:
        """Replay a log."""
        found = self._replay.run(log)
        client: Any = redis.Redis.from_url(self._store.url)
        with client:
            used = float(client.info("memory")["used_memory"])
        return {"cpu_us_per_event": found.cpu_us_per_event, "redis_mib": used / 2**20}


def imported(log: str, encoder: TextEncoder) -> dict[str, float]:
    """Import a log into an empty Redis."""
    with ExitStack() as stack:
        settings, store = opened(stack)
        found = Import(settings, store, encoder, SystemClock()).run(log)
    return {"cpu_us_per_event": found.cpu_us_per_event}


def main(root: str, warm: str, *parts: str) -> None:
    """Warm up what is asked for, and answer requests until there are no more."""
    if not consumers.__file__ or Path(consumers.__file__).resolve().parents[1] != Path(root):
        raise RuntimeError(f"the engine of {root} was to run, not {consumers.__file__}")
    with ExitStack() as stack:
        encoder = load_encoder(Settings().encoder)
        engines = {
            part: Engine(warm, encoder, stack, transformer=part == "transformer")
            for part in parts
            if part != "import"
        }
        answer({"ready": time.process_time()})
        for line in sys.stdin:
            part, log = line.rstrip("\n").split(" ", 1)
            found = imported(log, encoder) if part == "import" else engines[part].run(log)
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
            answer(found | {"rss_mib": pages * PAGE / 2**20})


def answer(found: dict[str, float]) -> None:
    """Write one answer."""
    print(MARK + json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
