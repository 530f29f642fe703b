"""One side of :mod:`benchmarks.refs`: an engine that replays a round whenever it is told to.

It is run by one version of this file over two versions of the engine, so it may use of the
engine only what has been there for long.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

import rillet
from benchmarks.place import Vectors
from benchmarks.procfs import rss_mib
from benchmarks.shop import Logs, Shop
from stream.events import Item, decode
from stream.log import read_log

__all__ = ["main"]


def main(folder: Path, filler: int) -> None:
    """Warm up on a folder's logs, then replay the rounds whose numbers stand on stdin."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed is no answer

    def answer(**found: Any) -> None:
        print(json.dumps(found), file=answers, flush=True)

    shelf = folder / "vectors.msgpack"
    known: Vectors = msgspec.msgpack.decode(shelf.read_bytes()) if shelf.is_file() else {}
    shop = Shop(_logs(folder), known, filler)
    try:
        shelf.write_bytes(msgspec.msgpack.encode(known | shop.vectors()))
        answer(engine=rillet.__file__)
        for line in sys.stdin:
            found = shop.round(int(line))
            memory = rss_mib(os.getpid())
            answer(cpu_us=found.cpu_us_per_event, steps=found.steps, rss_mib=memory)
    finally:
        shop.close()


def _logs(folder: Path) -> Logs:
    warm = folder / "warm.jsonl"
    items = [event for _, raw in read_log(warm) if isinstance(event := decode(raw), Item)]
    rounds = sorted(folder.glob("round-*.jsonl"), key=lambda path: int(path.stem[6:]))
    return Logs(items, warm, rounds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
