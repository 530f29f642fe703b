"""How well shown lists can be ordered anew: by what is taken next, and as lists.

    python -m benchmarks.ranking events.jsonl.gz --from 0.8 --lists 800

Every list is ordered by a live :class:`rillet.serving.ranker.Ranker`'s engine over what has been
learned from the events before it; what was clicked of it is worth 1, all else nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from benchmarks.search import ndcg_of, shop, spread, stops
from features.shown import shown_before
from rillet.serving.asking import Asker
from rillet.serving.ranker import Ranker
from rillet.serving.search import Search
from stream.errors import LogError
from stream.events import BadRecord, Event, Interaction, Ranking, decode
from stream.log import read_log
from stream.settings import Settings

WAYS: Final = ("shown", "next", "list")
"""As it was shown; by the chance that each is taken next; as a list, its places unknown."""


def main() -> None:
    """Parse the command line, run, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", help="an event log with shown lists")
    parser.add_argument("--from", dest="start", type=float, default=0.8, help="measured from")
    parser.add_argument("--lists", type=int, default=800, help="lists that are measured")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    found = measure(list(_events(given.log)), given.start, given.lists)
    if given.json:
        print(json.dumps(found))
        return
    for name, one in found["ndcg@10"].items():
        print(f"{name:8} NDCG@10 {one['mean']:.4f} +- {one['pm']:.4f}")
    print(f"{found['lists']:,} lists; CPU ms a list {found['cpu_ms']}")


def _events(log: str) -> Iterator[Event]:
    for _, raw in read_log(log):
        event = decode(raw)
        if not isinstance(event, BadRecord):
            yield event


def measure(events: Sequence[Event], start: float, most: int) -> dict[str, Any]:
    """Order lists anew.

    Parameters
    ----------
    events
        The log, in its order.
    start
        Share of its lists in which everybody learns and nothing is measured.
    most
        Lists that are measured, evenly over the rest.

    Raises
    ------
    LogError
        Nothing was clicked of any list.
    """
    clicked = _clicked(events)
    marked = [str(one.id) for one in events if isinstance(one, Ranking) and one.id in clicked]
    marked = marked[int(start * len(marked)) :]
    if not marked:
        raise LogError("of no list anything was taken", "name lists by `ranking` in interactions")
    kept = np.linspace(0, len(marked) - 1, min(most, len(marked))).astype(int)
    measured = {marked[at] for at in kept.tolist()}
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu: dict[str, list[float]] = {way: [] for way in WAYS[1:]}
    with shop({}) as (settings, replay, ranker):
        for number, one in enumerate(stops(events, Ranking, measured, replay, ranker)):
            for way, items, took in _orders(ranker, settings, one):
                gains = np.array([item in clicked[str(one.id)] for item in items], dtype=float)
                found[way].append(ndcg_of(gains, range(len(items))))
                if way in cpu:
                    cpu[way].append(took)
            if number % 100 == 0:
                print(f"{number:,} of {len(measured):,} lists", file=sys.stderr)
    return {
        "lists": len(measured),
        "ndcg@10": {way: spread(values) for way, values in found.items()},
        "cpu_ms": {way: round(float(np.median(values)), 2) for way, values in cpu.items()},
    }


def _clicked(events: Sequence[Event]) -> dict[str, set[str]]:
    """Return of each list what was taken of it, if anything was."""
    lists = {str(one.id): one for one in events if isinstance(one, Ranking)}
    found: dict[str, set[str]] = {}
    for event in events:
        if isinstance(event, Interaction) and (shown := lists.get(str(event.ranking))):
            if any(event.item == one.id for one in shown.items):
                found.setdefault(str(shown.id), set()).add(event.item)
    return found


def _orders(
    ranker: Ranker, settings: Settings, shown: Ranking
) -> Iterator[tuple[str, list[str], float]]:
    """Return how each way orders a list, and the milliseconds of processor time it took."""
    mirror, items = ranker.mirror, list(dict.fromkeys(one.id for one in shown.items))
    asker = Asker(settings, mirror)
    known = asker.session(shown.user, shown.session)
    yield "shown", items, 0.0
    with mirror.lock:
        before = shown_before(known, mirror.catalogue)
        for way, past in (("next", None), ("list", before)):
            began = time.thread_time()
            search = Search.of(mirror, asker.question(known, ""), "", whole=True, before=past)
            scored = search.score(search.among(items))
            took = 1000 * (time.thread_time() - began)
            ranked = [mirror.catalogue.ids[row] for row in scored.rows.tolist()]
            yield way, ranked + [one for one in items if one not in ranked], took


if __name__ == "__main__":
    main()
