"""The parts that need no Kafka, at a tiny size: what they tell is what they say it is."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import encoding, importing, index, procfs, reads, tables, training
from benchmarks.filler import bare, fill
from benchmarks.workload import Sizes, cut
from features.card import decode_card
from models.registry import Registry
from stream.errors import RilletError
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

TINY = Sizes(users=100, items=260, days=4.0, warm=600, rounds=3, events=20)


def test_texts_are_encoded_once_and_found_again() -> None:
    found = encoding.measure(cut(TINY).items, 24)
    assert found["texts"] == 24
    assert found["mean_chars"] > 20
    speeds = [found[name]["texts_per_s"] for name in ("cold", "redis", "memory")]
    assert speeds[0] * 5 < min(speeds[1:])  # a look-up costs microseconds, a text milliseconds


@pytest.mark.timeout(240)
def test_a_model_is_trained_and_made_the_current_one(tmp_path: Path) -> None:
    workload, known = cut(TINY), dict[str, bytes]()
    found = training.measure(workload, tmp_path / "models", known)
    pointer = Registry(str(tmp_path / "models")).current("sequence")
    assert pointer is not None
    assert found["items"] == len(workload.items)
    assert found["sequences"] >= found["passes"] > 0
    assert found["sequences_per_s"] > 0 < found["cpu_ms_per_sequence"]
    assert len(known) > 200  # others need not encode these texts


@pytest.mark.timeout(240)
def test_an_import_tells_what_it_has_read() -> None:
    found = importing.measure(TINY, 1500)
    assert found["events"] == 1500
    assert 0 < found["users"] <= 1500
    assert found["events_per_s"] == pytest.approx(found["events"] / found["wall_s"], rel=0.02)
    assert found["peak_rss_mib"] > 50


@pytest.mark.timeout(240)
@pytest.mark.parametrize("looked_at", [256, 1])
def test_what_an_index_misses_is_told(monkeypatch: pytest.MonkeyPatch, looked_at: int) -> None:
    for module in ("projection", "loaded"):
        monkeypatch.setattr(f"models.{module}.LARGE", 3000)
    for name in ("LOOKED_AT", "LOOKED_AT_TRAINED"):
        monkeypatch.setattr(f"models.near.{name}", looked_at)
    monkeypatch.setattr("models.near.FEWEST", 1)
    notes: list[str] = []
    found = index.measure(cut(TINY), (300, 4000), 20, {}, notes.append)
    few, many = found["catalogues"]
    assert few == {"items": 300, "sources": {}, "blend_100": 1, "blend_50": 1, "lists": 1}
    assert many["items"] == 4000
    assert {"content", "taste", "transformer"} <= set(many["sources"])
    assert 0 < many["sources"]["transformer"]["questions"] <= found["questions"] == 20
    assert all(many["sources"][name]["us"] > 0 for name in ("taste", "transformer"))
    recalls = [its["recall"] for its in many["sources"].values()]
    if looked_at == 1:
        assert max(recalls) < 0.9
    else:
        assert min(recalls) > 0.99
        assert many["blend_100"] > 0.95
    said = io.StringIO()
    tables.show({"index": found}, Console(file=said, width=80))
    assert "blend, best 100" in said.getvalue()


def test_lists_are_read_by_both_clients(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RilletError, match="no lists"):
        reads.measure(store, 10)
    value = b'{"items":[]}'
    store.write_plain([Plain(store.keys.recs(f"u{n}"), value, 60_000) for n in range(5)])
    found = reads.measure(store, 50)
    assert (found["reads"], found["users"], found["mean_bytes"]) == (50, 5, len(value))
    for its in found["redis_py"].values():
        assert 0 < its["p50"] <= its["p99"]
    if shutil.which(reads.PROGRAM) is not None:
        assert list(found["redis_benchmark"]) == ["1", "50"]
        assert all(row["per_s"] > 0 < row["p50_us"] for row in found["redis_benchmark"].values())
    monkeypatch.setenv("PATH", "")
    assert "not measured" in reads.measure(store, 50)["redis_benchmark"]


def test_filler_is_what_the_catalogue_consumer_writes(store: Store, settings: Settings) -> None:
    items = [bare(item, number) for number, item in enumerate(cut(TINY).items[:3])]
    fill(store, settings, items, 7)
    cards = {name: decode_card(raw) for name, raw in store.scan("item")}
    assert sorted(cards) == [f"filler-{n}" for n in range(7)]
    assert cards["filler-0"].categories == cards["filler-3"].categories
    assert all(card.item == name and not card.title for name, card in cards.items())
    vectors = [tuple(card.vectors["own"]) for card in cards.values()]
    assert len(set(vectors)) == 7
    assert all(sum(x * x for x in vector) == pytest.approx(1, abs=1e-3) for vector in vectors)


def test_memory_and_time_of_a_process_are_its_own() -> None:
    before = procfs.cpu_s(os.getpid())
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert 0.05 < procfs.cpu_s(os.getpid()) - before < 5
    held = bytearray(b"x") * 2**26
    with_it = procfs.rss_mib(os.getpid())
    assert 64 < procfs.private_mib(os.getpid()) <= with_it
    del held
    assert 32 < with_it - procfs.rss_mib(os.getpid()) < 128
