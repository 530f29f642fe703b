"""One run of the training job after another, over one registry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from consumers.training import Outcome
from features.text import Encoder
from models.manifest import Manifest
from models.packing import ITEMS, Parcel, read_from
from models.registry import Pointer, Registry
from stream.errors import ModelError, SettingsError
from stream.events import Event
from stream.settings import Settings
from stream.store import Store
from tests.builders import DAY, MINUTE, NOON, forget, interaction, item, search
from tests.consumers.small_log import the_items
from tests.consumers.trained import a_job, ndcg, small, stock, visits

EARLY = visits()
LATE = visits(begin=NOON + 3 * DAY, seed=8)
LENIENT = {"tolerance": 0.4}
"""The log is small, so the gate has to be content with little."""


class Killed(BaseException):
    """The process is dead."""


class Shop:
    """Runs the job, each time as a new process does that finds what the one before left."""

    def __init__(self, home: Path, server: str, encoder: Encoder) -> None:
        self.home, self.encoder = home, encoder
        self._redis = {"url": server, "prefix": home.name}
        self.stock(the_items())

    def settings(self, **groups: Any) -> Settings:
        return Settings.model_validate(small(self.home, redis=self._redis, **groups))

    def stock(self, items: Sequence[Event]) -> None:
        with Opened(self.settings()) as store:
            stock(self.settings(), store, self.encoder, self.home / "items.jsonl", items)

    def run(self, events: Sequence[Event], watch: Any = None, **more: Any) -> Outcome:
        anew, folder = more.pop("anew", False), more.pop("folder", self.folder)
        settings = self.settings(**more)
        with Opened(settings) as store:
            job = a_job(settings, store, self.encoder)
            outcome = job.run(events, anew=anew, folder=folder, watch=watch)
        assert outcome is not None
        return outcome

    @property
    def folder(self) -> Path:
        return self.home / "run"

    @property
    def registry(self) -> Registry:
        return Registry(str(self.home / "models"))

    @property
    def pointer(self) -> Pointer:
        pointer = self.registry.current("sequence")
        assert pointer is not None
        return pointer

    def manifest(self, outcome: Outcome) -> Manifest:
        return self.registry.manifest(outcome.version)

    def parcel(self, outcome: Outcome) -> Parcel:
        return read_from(self.registry, outcome.version, self.encoder.version)

    def weights(self, outcome: Outcome) -> dict[str, Any]:
        return self.registry.load(outcome.version)[0]


class Opened:
    """A store for as long as a process lives."""

    def __init__(self, settings: Settings) -> None:
        self._store = Store(settings.redis)

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store.url
    store.close()


@pytest.fixture
def shop(tmp_path: Path, server: str, encoder: Encoder) -> Shop:
    return Shop(tmp_path, server, encoder)


class Passes:
    """Counts a run's passes, and kills it in the middle of one."""

    def __init__(self, last: int = 0) -> None:
        self.begun, self._last = 0, last

    def __call__(self, step: int, steps: int, loss: float) -> None:
        self.begun += step == 1
        if self.begun == self._last and step == 2:
            raise Killed


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def test_the_first_model_is_promoted(shop: Shop) -> None:
    outcome = shop.run(EARLY)
    assert outcome.verdict.promote
    assert (outcome.parent, outcome.verdict.reasons) == ("", ["there is no current model"])
    assert shop.pointer.current.version == outcome.version
    manifest = shop.manifest(outcome)
    assert (manifest.parent, manifest.status) == ("", "candidate")
    assert manifest.encoder == shop.encoder.version
    assert manifest.data.last_ms == max(int(e.timestamp) for e in EARLY)
    assert (outcome.interactions, outcome.users, outcome.items) == (240, 40, 16)
    assert (manifest.data.events, manifest.data.users, manifest.data.items) == (240, 40, 16)
    assert set(outcome.metrics) == set(manifest.metrics) == {"candidate"}
    assert len(outcome.held_out) == outcome.epochs == 3
    assert outcome.held_out[outcome.best] == min(outcome.held_out)
    assert not shop.folder.exists()


def test_the_next_model_starts_from_the_current_one_and_is_compared_with_it(shop: Shop) -> None:
    first = shop.run(EARLY)
    second = shop.run([*EARLY, *LATE], transformer={"learning_rate": 1e-9, "epochs": 1})
    assert second.parent == shop.manifest(second).parent == first.version
    before, after = shop.weights(first), shop.weights(second)
    assert all(np.allclose(after[name], before[name], atol=1e-6) for name in before)
    assert set(second.metrics) == {"candidate", "current"}
    groups = {one.group for one in second.verdict.comparisons}
    assert groups == {"all", "cold users", "cold items"}
    asked = next(one for one in second.verdict.comparisons if one.group == "all")
    assert asked.questions > 50
    assert second.metrics["candidate"]["ndcg@10"] == pytest.approx(asked.candidate)
    assert second.metrics["current"]["ndcg@10"] == pytest.approx(asked.current)


def test_one_that_is_not_worse_takes_its_place(shop: Shop) -> None:
    first = shop.run(EARLY)
    second = shop.run([*EARLY, *LATE], training=LENIENT)
    assert second.verdict.promote
    pointer = shop.pointer
    assert (pointer.current.version, pointer.before) == (second.version, first.version)
    assert pointer.current.reason == "; ".join(second.verdict.reasons)
    assert shop.manifest(second).data.first_ms == shop.manifest(first).data.last_ms + 1


def test_a_worse_one_is_refused_and_stays_refused(shop: Shop) -> None:
    first = shop.run(EARLY)
    worse = shop.run([*EARLY, *LATE], transformer={"learning_rate": 3.0})
    assert not worse.verdict.promote
    assert ndcg(worse, "candidate") < ndcg(worse, "current")
    manifest = shop.manifest(worse)
    assert (manifest.status, manifest.notes) == ("refused", worse.verdict.reasons)
    assert not shop.folder.exists()
    third = shop.run([*EARLY, *LATE], training=LENIENT)
    assert (third.parent, third.verdict.promote) == (first.version, True)
    assert [one.version for one in shop.pointer.history] == [first.version, third.version]
    assert shop.manifest(worse).status == "refused"


def test_where_there_are_few_questions_the_current_one_stays(shop: Shop) -> None:
    first = shop.run(EARLY)
    second = shop.run([*EARLY, *LATE[:30]], training=LENIENT)
    assert "too few" in second.verdict.reasons[0]
    assert shop.pointer.current.version == first.version


def test_where_nothing_is_asked_the_current_one_stays(shop: Shop) -> None:
    shop.run(EARLY)
    strangers = [interaction("k1", NOON + 9 * DAY + n, f"stranger{n}") for n in range(9)]
    second = shop.run([*EARLY, *strangers], training=LENIENT)
    assert not second.verdict.promote
    assert second.metrics["candidate"] == {"ndcg@10": None, "hr@10": None}  # not zero: not asked


def test_what_is_begun_anew_is_compared_all_the_same(shop: Shop) -> None:
    first = shop.run(EARLY)
    anew = shop.run([*EARLY, *LATE], anew=True, training=LENIENT)
    assert anew.parent == shop.manifest(anew).parent == ""
    assert shop.manifest(anew).data.first_ms == 0
    assert set(anew.metrics) == {"candidate", "current"}
    assert anew.verdict.promote
    assert shop.pointer.before == first.version
    bad = shop.run([*EARLY, *LATE], anew=True, transformer={"learning_rate": 3.0})
    assert not bad.verdict.promote


def test_a_current_model_is_examined_on_nothing_that_it_was_trained_on(shop: Shop) -> None:
    shop.run(EARLY)
    again = shop.run(EARLY, anew=True, training=LENIENT)
    assert not again.verdict.promote
    assert again.verdict.reasons[0].startswith("0 questions")


def test_a_damaged_current_model_is_an_error_unless_it_is_begun_anew(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    first = shop.run(EARLY)
    (shop.home / "models" / first.version / ITEMS).write_bytes(b"[]")
    with pytest.raises(ModelError, match="damaged"):
        shop.run([*EARLY, *LATE])
    anew = shop.run([*EARLY, *LATE], anew=True)
    assert anew.verdict.promote
    assert "compared with none" in caplog.text


def test_the_same_seed_and_data_give_the_same_weights(shop: Shop) -> None:
    one = shop.run(EARLY, training={"registry": str(shop.home / "one")})
    two = shop.run(EARLY, training={"registry": str(shop.home / "two")})
    three = shop.run(
        EARLY, training={"registry": str(shop.home / "three")}, transformer={"seed": 1}
    )
    found = [
        Registry(str(shop.home / name)).load(outcome.version)[0]
        for name, outcome in (("one", one), ("two", two), ("three", three))
    ]
    assert same(found[0], found[1])
    assert not same(found[0], found[2])
    assert one.held_out == two.held_out != three.held_out


def test_a_run_that_was_killed_goes_on_to_the_same_weights(shop: Shop) -> None:
    whole = shop.run(EARLY, training={"registry": str(shop.home / "whole")})
    for _ in range(2):  # one whole pass in each life
        with pytest.raises(Killed):
            shop.run(EARLY, Passes(2))
        assert shop.registry.entries() == []
        assert shop.folder.exists()
    passes = Passes()
    outcome = shop.run(EARLY, passes)
    assert passes.begun == 1
    assert outcome.held_out == whole.held_out
    assert same(shop.weights(outcome), Registry(str(shop.home / "whole")).load(whole.version)[0])
    assert not shop.folder.exists()


def test_a_killed_run_goes_on_though_events_and_items_came_meanwhile(shop: Shop) -> None:
    whole = shop.run(EARLY, training={"registry": str(shop.home / "whole")})
    with pytest.raises(Killed):
        shop.run(EARLY, Passes(3))
    shop.stock([item("a-first-one", NOON, title="Garden chair"), item("m", NOON, title="Lamp")])
    news = [*LATE, interaction("no-card", NOON + 5 * DAY, "user1")]
    passes = Passes()
    outcome = shop.run([*EARLY, *news], passes)
    assert passes.begun == 1
    assert (outcome.interactions, outcome.items) == (240, 19)
    assert shop.manifest(outcome).data.last_ms == max(int(e.timestamp) for e in EARLY)
    assert outcome.held_out[:2] == whole.held_out[:2]
    mine = dict(zip(shop.parcel(outcome).names, shop.weights(outcome)["ids"], strict=True))
    names = [name for name in mine if name in {getattr(one, "item", "") for one in the_items()}]
    theirs = Registry(str(shop.home / "whole")).load(whole.version)[0]["ids"]
    for name, row in zip(
        names, theirs, strict=True
    ):  # in their old places they would be another item's
        cosine = row @ mine[name] / np.linalg.norm(row) / np.linalg.norm(mine[name])
        assert cosine > 0.95, name
    assert not mine["a-first-one"].any()


def test_what_came_meanwhile_is_the_next_runs_window(shop: Shop) -> None:
    with pytest.raises(Killed):
        shop.run(EARLY, Passes(2))
    first = shop.run([*EARLY, *LATE])
    second = shop.run([*EARLY, *LATE], training=LENIENT)
    assert (first.interactions, second.interactions) == (240, 480)
    assert second.parent == first.version


@pytest.mark.parametrize("change", ["forgotten", "rate", "anew"])
def test_a_run_about_something_else_is_not_continued(shop: Shop, change: str) -> None:
    shop.run(EARLY)
    with pytest.raises(Killed):
        shop.run([*EARLY, *LATE], Passes(2))
    passes = Passes()
    rate, anew = (0.02 if change == "rate" else 0.01), change == "anew"
    late = [*LATE, forget("user3", NOON + 5 * DAY)] if change == "forgotten" else LATE
    chosen = {"learning_rate": rate}
    outcome = shop.run([*EARLY, *late], passes, anew=anew, transformer=chosen)
    assert passes.begun == outcome.epochs == 3


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_an_unfinished_run_that_cannot_be_read_is_begun_anew(
    shop: Shop, damage: bytes | None
) -> None:
    with pytest.raises(Killed):
        shop.run(EARLY, Passes(2))
    (file,) = shop.folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9] if damage is None else damage)
    assert shop.run(EARLY).epochs == 3


def test_a_run_of_another_shape_that_fails_does_not_fail_for_ever(shop: Shop) -> None:
    with pytest.raises(Killed):
        shop.run(EARLY, Passes(2))
    (file,) = shop.folder.glob("*.safetensors")
    with safe_open(file, framework="np") as opened:
        books = opened.metadata()
    arrays = load_file(file)
    arrays["model.norm.weight"] = np.ones(3, np.float32)
    save_file(arrays, file, metadata=books)
    with pytest.raises(ModelError, match="cannot be continued"):
        shop.run(EARLY)
    assert shop.run(EARLY).verdict.promote


NOTHING: dict[str, tuple[list[Event], str]] = {
    "no events": ([], "0 positive interactions with 0 items are too few"),
    "searches alone": ([search("cup", NOON + n) for n in range(9)], "0 positive interactions"),
    "one item": ([interaction("k1", NOON + n * MINUTE) for n in range(9)], "with 1 items"),
    "strangers": (
        [interaction(f"k{n % 3}", NOON + n, f"u{n}") for n in range(9)],
        "nobody did anything before",
    ),
    "dislikes": (
        [interaction(f"k{n % 3}", NOON + n, type="dislike") for n in range(9)],
        "0 positive interactions",
    ),
}


@pytest.mark.parametrize("case", NOTHING)
def test_too_little_is_a_clear_error(shop: Shop, case: str) -> None:
    events, words = NOTHING[case]
    with pytest.raises(ModelError, match=words) as caught:
        shop.run(events)
    assert caught.value.mend
    assert shop.registry.entries() == []
    assert not shop.folder.exists()


def test_without_anything_new_there_is_nothing_to_train(shop: Shop) -> None:
    shop.run(EARLY)
    with pytest.raises(ModelError, match="nothing new") as caught:
        shop.run(EARLY)
    assert "--anew" in caught.value.mend


def test_items_without_a_card_are_learned_by_their_names(shop: Shop) -> None:
    events = [interaction(f"bare{n % 5}", NOON + n * MINUTE, f"u{n // 5}") for n in range(60)]
    outcome = shop.run(events)
    assert outcome.items == 16 + 5
    assert set(shop.parcel(outcome).names) >= {f"bare{n}" for n in range(5)}


def test_a_training_that_diverges_registers_nothing(shop: Shop) -> None:
    with pytest.raises(ModelError, match="diverged") as caught:
        shop.run(EARLY, transformer={"learning_rate": 1e30, "weight_decay": 1e30})
    assert "learning_rate" in caught.value.mend
    assert shop.registry.entries() == []
    assert not shop.folder.exists()


def test_heads_that_do_not_divide_the_width_are_named(shop: Shop) -> None:
    with pytest.raises(SettingsError, match=r"transformer\.heads: 3"):
        shop.run(EARLY, transformer={"heads": 3})


def test_a_task_that_the_current_model_has_not_is_left_out(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.run(EARLY)
    second = shop.run([*EARLY, *LATE], transformer={"purchase": 0.5})
    assert shop.manifest(second).config["tasks"] == ["next"]
    assert "no task purchase" in caplog.text
    anew = shop.run([*EARLY, *LATE], transformer={"purchase": 0.5}, anew=True, training=LENIENT)
    assert shop.manifest(anew).config["tasks"] == ["next", "purchase"]
    assert anew.verdict.promote
    third = shop.run([*EARLY, *LATE, *visits(begin=NOON + 6 * DAY, seed=9)])  # nor does it lose one
    assert shop.manifest(third).config["tasks"] == ["next", "purchase"]


def test_a_shape_is_that_of_the_model_it_starts_from(shop: Shop) -> None:
    shop.run(EARLY)
    second = shop.run([*EARLY, *LATE], transformer={"dim": 32})
    assert shop.manifest(second).config["dim"] == 16
    anew = shop.run([*EARLY, *LATE], transformer={"dim": 32}, anew=True)
    assert shop.manifest(anew).config["dim"] == 32
