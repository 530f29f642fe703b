"""The parts that need no server, and the tables, from one end to the other at a tiny size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks import filler, quality, scaling, search, tables
from benchmarks.contender import Run
from benchmarks.freshness import Rate, figures
from benchmarks.throughput import summary
from benchmarks.watch import Seen
from benchmarks.workload import Sizes
from features.card import fold_item
from features.catalogue import Catalogue
from rillet.simulate import World
from stream.events import Field, Item, Millis
from stream.settings import Settings
from tests.builders import NOON, write_log
from tests.consumers.small_log import the_log

TINY = Sizes(users=60, items=400, days=3.0, warm=100, rounds=3, events=50)


def printed(results: dict[str, Any]) -> str:
    out = Console(file=io.StringIO(), width=80)
    tables.show(results, out)
    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    return text


@pytest.mark.timeout(240)
def test_scaling_replays_the_same_shop_with_more_items() -> None:
    said: list[str] = []
    known: dict[str, bytes] = {}
    found = scaling.measure(TINY, (400, 800), known, said.append)
    assert [row["items"] for row in found["catalogues"]] == [400, 800]
    assert len(known) > 300  # what the first has encoded the second need not encode
    assert all(row["rss_mib"] > 0 for row in found["catalogues"])
    assert all(row["cpu_us_per_event"] > 0 for row in found["catalogues"])
    assert all(len(row["cpu_us_per_event_rounds"]) == 3 for row in found["catalogues"])
    assert len(said) == 6
    assert "nobody touches them" in printed({"scaling": found})


def test_a_bare_item_has_a_vector_and_no_text() -> None:
    fields = [Field("title", "Tea"), Field("categories", ["tea"]), Field("price", 2.0)]
    item = Item(timestamp=Millis(0), item="i", fields=fields)
    first, again = filler.bare(item, 3), filler.bare(item, 3)
    assert first == again
    assert [field.name for field in first.fields] == ["categories", "price", "vector:own"]


def test_a_crowd_is_put_beside_what_is_there() -> None:
    settings = Settings()
    items = [
        Item(timestamp=Millis(NOON), item=f"i{n}", fields=[Field("title", f"Tea {n}")])
        for n in range(3)
    ]
    cards = [fold_item(None, item, settings, partition=0, offset=0) for item in items]
    catalogue, again = (Catalogue(8, settings.items) for _ in range(2))
    for one in (catalogue, again):
        one.apply(cards, np.eye(3, 8, dtype=np.float32))
        filler.crowd(one, settings, items, 7)
    assert catalogue.ids == ["i0", "i1", "i2", *(f"filler-{n}" for n in range(7))]
    assert catalogue.alive.all()
    np.testing.assert_allclose(np.linalg.norm(catalogue.vectors, axis=1), 1, rtol=1e-5)
    assert len(np.unique(catalogue.vectors, axis=0)) == 10
    np.testing.assert_array_equal(catalogue.vectors, again.vectors)
    assert set(catalogue.first_seen[3:].tolist()) == {1}  # none of them counts as new


@pytest.mark.timeout(240)
def test_quality_of_a_log(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.jsonl", the_log())
    known: dict[str, bytes] = {}
    found = quality.measure_log(path, 0.5, known, lambda _text: None)
    assert 0 < found["blend"]["hr@10"] <= 1
    assert found["best_source"] in found["sources"]
    assert known  # the vectors of its items need not be encoded again
    text = printed({"log": found})
    assert "blend" in text and found["best_source"] in text  # noqa: PT018


@pytest.mark.timeout(240)
def test_what_a_search_finds() -> None:
    world = World(users=80, items=320, days=2.0)
    found = search.measure(world, 0.5, 6, {}, lambda _text: None)
    assert found["searches"] == 6
    assert set(found["ndcg@10"]) == set(search.RANKERS)
    assert all(0.2 < its["mean"] <= 1 for its in found["ndcg@10"].values())
    text = printed({"search": found})
    assert "personal" in text and "6 searches" in text  # noqa: PT018


def test_tables_of_speed_and_freshness() -> None:
    steps = {"poll": 5e3, "handle": 9e4, "decode": 1e4, "checkpoint": 5e3, "checkpoint.state": 1e3}
    runs = [Run(100, 10, 0.1, 0.09, steps)] * 3
    found = summary(dict.fromkeys(("rillet", "floor", "plain", "neighbours"), runs))
    found |= {"redis_cpu_us_per_event": 9.0, "steps_wall_us_per_event": steps, "learned": 0.125}
    text = printed({"throughput": found})
    assert "1,000 [1,000 1,000]" in text
    assert "90.0%" in text
    assert "12% of the positives" in " ".join(text.split())
    rate = Rate(10, 0.0, 1.0, 20)
    seen = figures(Seen([0.01] * 10, [0.001]), [0.0] * 10, 10.0, rate)
    row = rate.as_dict() | seen
    fresh = {"capacity_per_s": 50.0, "loads": [row], "lost": 0, "personalize": {}, "floor": row}
    assert "0 lost" in " ".join(printed({"freshness": fresh}).split())
