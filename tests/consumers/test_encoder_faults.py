"""What goes wrong between an encoder and the sequence models that read its vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from consumers.training_input import offsets_of
from models.gate import Verdict, judge
from models.manifest import WEIGHTS
from stream import metrics
from tests.builders import DAY
from tests.consumers.encoder_shop import EARLY, LATE, UNTOLD, Shop
from tests.tuned import home_of, quick


class Killed(BaseException):
    """The process is dead."""


@pytest.fixture
def shop(encoder_shop: Shop) -> Shop:
    return encoder_shop


def test_each_run_of_a_process_has_its_own_precision(shop: Shop) -> None:
    halves = {"precision": "bf16"}
    shop.train(EARLY)
    outcome = shop.tune([*EARLY, *LATE], transformer=halves, encoder_tuning=quick(epochs=2))
    assert outcome.sequence is not None
    assert shop.registry.manifest(outcome.version).metrics["candidate"]


def test_an_unfinished_run_over_another_encoders_vectors_is_begun_anew(
    shop: Shop, first: Shop
) -> None:
    passes: list[int] = []

    def watch(step: int, steps: int, loss: float) -> None:
        if step == 1:
            passes.append(step)
        if killed and len(passes) == 2:
            raise Killed

    killed = True
    with pytest.raises(Killed):
        shop.sequence(EARLY, watch)
    shop.adopt(first)
    killed = False
    passes.clear()
    outcome = shop.sequence(EARLY, watch)
    assert len(passes) == outcome.epochs == 3


class Ended(threading.Event):
    """Is set once something is true."""

    def __init__(self, true: Callable[[], bool]) -> None:
        super().__init__()
        self._true = true

    def is_set(self) -> bool:
        return self._true()


def test_while_the_promoted_encoder_cannot_be_had_nothing_is_trained(
    shop: Shop, first: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = shop.adopt(first)
    model = shop.train(EARLY)
    shop.archive(EARLY)
    shop.archive(LATE, 1)
    shop.clock.advance_to(shop.clock.now_ms() + 8 * DAY)
    shop.registry.rollback("encoder")
    job = shop.job()
    shop.registry.promote(outcome.version)
    file = shop.home / "models" / outcome.version / WEIGHTS
    away = file.rename(shop.home / "away")
    for _ in range(2):
        job._follow()
        assert not job.due()
        assert not job.encoder_due()
    assert metrics.counters()["models.refused"] == 1  # it is told once
    assert "nothing is trained" in caplog.text
    away.rename(file)
    job._follow()
    assert outcome.version in job._encoder.version
    assert job.due()
    assert not job._foreign()
    assert shop.current("sequence") == model


def test_a_machine_with_another_form_of_the_encoder_trains_nothing(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.train(EARLY)
    shop.archive(LATE)
    shop.clock.advance_to(shop.clock.now_ms() + 8 * DAY)
    assert shop.job().due()
    unusable = shop.home / "a-file"
    unusable.write_text("where a folder should be, so that the encoder runs in torch")
    other = shop.job(encoder=home_of(shop.tiny) | {"cache_dir": str(unusable)})
    assert not other.due()
    assert not other.encoder_due()
    assert "set encoder.int8 alike" in caplog.text


def test_an_interrupted_run_of_the_encoder_is_begun_anew(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.archive(EARLY)
    job = shop.job()
    with caplog.at_level("INFO"):
        ended = Ended(lambda: bool(shop.registry.entries("encoder")))  # as soon as it is tuned
        assert job.once_encoder(ended) is None
    assert "begins anew at the next start" in caplog.text
    (left,) = shop.registry.entries("encoder")
    assert left.manifest is not None
    assert left.manifest.notes == []
    assert shop.job().encoder_due()
    outcome = shop.job().once_encoder(threading.Event())
    assert outcome is not None
    assert not shop.job().encoder_due()


def test_a_refused_pair_does_not_keep_the_transformer_from_its_tuning(shop: Shop) -> None:
    old = shop.train(EARLY)
    shop.archive(EARLY)
    shop.archive(LATE[:100], 1)
    shop.clock.advance_to(shop.clock.now_ms() + 8 * DAY)
    job = shop.job(transformer=UNTOLD)
    outcome = job.once_encoder(threading.Event())
    assert outcome is not None
    assert outcome.sequence is not None
    assert not outcome.verdict.promote
    assert shop.current("sequence") == old
    assert not job.encoder_due()
    assert job.due()
    assert shop.job().due()  # also for a process that starts now


@pytest.mark.parametrize("when", ["sequence", "encoder"])
def test_who_lost_the_lease_after_the_exam_promotes_nothing(
    shop: Shop, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.archive(EARLY)
    job = shop.job()
    judged = f"consumers.{'encoder_' if when == 'encoder' else ''}training.judge"

    def losing(*given: Any) -> Verdict:
        job._lost.set()
        return judge(*given)

    monkeypatch.setattr(judged, losing)
    work = job.once if when == "sequence" else job.once_encoder
    assert work(threading.Event()) is None
    assert (shop.current("encoder"), shop.current("sequence")) == ("", "")
    assert shop.registry.entries("sequence") == []
    again = shop.job()
    if when == "sequence":
        assert (shop.home / "run").exists()  # it is only examined anew
        assert again.due()
    else:
        assert again.encoder_due()


def test_manifests_say_where_the_archive_was_when_it_was_read(shop: Shop) -> None:
    shop.train(EARLY)
    shop.archive(EARLY)
    shop.archive(LATE, 1)
    shop.clock.advance_to(shop.clock.now_ms() + 8 * DAY)
    outcome = shop.job().once_encoder(threading.Event())
    assert outcome is not None
    assert outcome.sequence is not None
    ends = {"rillet.events:0": len(EARLY), "rillet.events:1": len(LATE)}
    assert shop.registry.manifest(outcome.version).offsets == ends
    assert shop.registry.manifest(outcome.sequence.version).offsets == ends


def test_what_is_archived_while_a_run_trains_is_not_in_its_manifest(shop: Shop) -> None:
    shop.archive(EARLY)
    places, last_ms = offsets_of(shop.settings().archive.url), int(EARLY[-1].timestamp)
    ends = {"rillet.events:0": len(EARLY)}
    assert places(last_ms) == ends
    shop.archive(EARLY, 1)  # late ones
    assert places(last_ms) == ends
    assert places(0) == {}
