"""The encoder's job over one registry: tuned, examined, and promoted with a sequence model."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumers.encoder_training import EncoderJob
from consumers.encoders import encoder_at, promoted_encoder
from features.text import load_encoder
from models.manifest import WEIGHTS
from stream import metrics
from stream.announcement import announced
from stream.errors import ModelError
from stream.events import Event, Interaction
from tests.builders import DAY
from tests.consumers.encoder_shop import EARLY, LATE, UNTOLD, Shop
from tests.consumers.trained import ndcg
from tests.tiny_encoder import make_encoder
from tests.tuned import TEXTS, WORDS, home_of, quick


@pytest.fixture
def shop(encoder_shop: Shop) -> Shop:
    return encoder_shop


def test_a_better_encoder_is_promoted_and_its_vectors_are_there(first: Shop) -> None:
    shop, outcome = first, first.first
    own = load_encoder(shop.settings().encoder)
    assert outcome is not None
    assert outcome.verdict.promote, outcome.verdict.reasons
    assert ndcg(outcome, "candidate") > ndcg(outcome, "current") + 0.1
    assert shop.current("encoder") == outcome.version
    manifest = shop.registry.manifest(outcome.version)
    assert manifest.metrics == outcome.metrics
    assert manifest.data.events == 360
    assert manifest.data.last_ms == max(int(one.timestamp) for one in EARLY)
    assert set(manifest.files) == {WEIGHTS}
    assert manifest.files[WEIGHTS].bytes < 20_000
    assert shop.vectors(outcome.version) == len(TEXTS)
    tuned = promoted_encoder(shop.settings())
    assert tuned.version == outcome.version
    assert tuned.encoder.version != own.version
    assert outcome.version in tuned.encoder.version
    assert not np.allclose(tuned.encoder.encode(TEXTS), own.encode(TEXTS), atol=0.05)


def test_a_rollback_goes_to_the_encoder_as_it_came(shop: Shop, first: Shop) -> None:
    shop.adopt(first)
    own = load_encoder(shop.settings().encoder)
    shop.registry.rollback("encoder")
    back = promoted_encoder(shop.settings())
    assert back.encoder.version == own.version
    assert back.version == shop.current("encoder") != ""


def test_the_next_run_goes_on_from_the_current_one(shop: Shop, first: Shop) -> None:
    one = shop.adopt(first)
    second = shop.tune([*EARLY, *LATE], encoder_tuning=quick(rank=2, epochs=2, learning_rate=0.002))
    assert second.parent == one.version
    manifest = shop.registry.manifest(second.version)
    assert manifest.data.first_ms > max(int(one.timestamp) for one in EARLY)
    assert manifest.config["rank"] == 4  # the shape is that of what it starts from
    assert second.before < one.before


def test_a_worse_encoder_is_refused_by_the_gate(
    shop: Shop, first: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shop.adopt(first)

    def scrambled(settings: Any, version: str) -> Any:
        encoder = encoder_at(settings, version)
        encoder._tokenizer = Backwards(encoder._tokenizer)  # type: ignore[attr-defined]
        return encoder

    monkeypatch.setattr("consumers.encoder_training.encoder_at", scrambled)
    tuning = quick(epochs=1, learning_rate=0.001)
    worse = shop.tune([*EARLY, *LATE], encoder_tuning=tuning)
    assert not worse.verdict.promote
    assert "may lose" in worse.verdict.reasons[0]
    assert shop.current("encoder") == one.version
    assert shop.registry.manifest(worse.version).status == "refused"
    assert not any(worse.version in name for name, _ in shop.store.scan("vector"))


class Backwards:
    """Gives each text the tokens of another one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode_batch(self, texts: list[str]) -> Any:
        chance = np.random.default_rng(0)
        return self._tokenizer.encode_batch([texts[n] for n in chance.permutation(len(texts))])


def test_where_nothing_is_learned_the_candidate_is_refused(shop: Shop) -> None:
    tuning = quick(epochs=1, learning_rate=100.0)
    outcome = shop.tune(EARLY, encoder_tuning=tuning)
    assert not outcome.verdict.promote
    assert outcome.verdict.reasons == ["no pass lowered the loss of what was held out"]
    assert outcome.best == -1


def test_a_sequence_model_goes_with_the_encoder(shop: Shop) -> None:
    old = shop.train(EARLY)
    outcome = shop.tune([*EARLY, *LATE])
    assert outcome.verdict.promote, outcome.verdict.reasons
    assert outcome.sequence is not None
    assert shop.current("sequence") == outcome.sequence.version != old
    assert set(outcome.sequence.metrics) == {"candidate", "current"}  # it was compared
    manifest = shop.registry.manifest(outcome.sequence.version)
    assert manifest.encoder == encoder_at(shop.settings(), outcome.version).version
    assert not shop.job().due()


def test_where_the_sequence_model_is_refused_so_is_the_encoder(shop: Shop) -> None:
    old = shop.train(EARLY)
    outcome = shop.tune([*EARLY, *LATE[:100]], transformer=UNTOLD)
    assert not outcome.verdict.promote
    assert "the sequence model on its vectors" in outcome.verdict.reasons[0]
    assert (shop.current("encoder"), shop.current("sequence")) == ("", old)
    assert shop.registry.manifest(outcome.version).status == "refused"


def test_what_could_only_be_refused_is_refused_before_it_is_trained(shop: Shop) -> None:
    old = shop.train(EARLY)
    told: list[int] = []
    job = EncoderJob(shop.settings(), shop.store, shop.registry, lambda *_: told.append(1))
    late = 49
    with pytest.raises(ModelError, match=f"{late} positive interactions are newer") as caught:
        job.run(lambda: [*EARLY, *the_first(late)])
    assert "a registry of its own" in caught.value.mend
    assert not told
    assert [one.version for one in shop.registry.entries()] == [old]
    job.run(lambda: [*EARLY, *the_first(late + 1)])
    assert told


def the_first(many: int) -> list[Event]:
    """Return the late events up to so many interactions."""
    taken = [event for event in LATE if isinstance(event, Interaction)]
    return [*taken[:many]]


def test_a_damaged_current_encoder_is_told_and_anew_begins_without_it(
    shop: Shop, first: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    one = shop.adopt(first)
    file = shop.home / "models" / one.version / WEIGHTS
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        shop.tune([*EARLY, *LATE])
    promoted = promoted_encoder(shop.settings())
    assert promoted.version == ""
    assert promoted.encoder.version == load_encoder(shop.settings().encoder).version
    assert "the settings' own" in caplog.text
    assert metrics.counters()["models.refused"] == 1
    again = shop.tune([*EARLY, *LATE], anew=True)
    assert again.parent == ""
    assert shop.current("encoder") == again.version


def test_an_adapter_of_another_base_is_refused(shop: Shop, first: Shop, tmp_path: Path) -> None:
    one = shop.adopt(first)
    other = make_encoder(tmp_path / "other", WORDS, seed=1)
    with pytest.raises(ModelError, match="is an adapter of tiny-"):
        encoder_at(shop.settings(encoder=home_of(other)), one.version)


def test_a_damaged_merged_folder_is_written_anew(shop: Shop, first: Shop) -> None:
    one = shop.adopt(first)
    vectors = encoder_at(shop.settings(), one.version).encode(TEXTS)
    cache = shop.settings().encoder.cache_folder
    (merged,) = cache.glob(f"*{one.version}-merged")
    (merged / "model.safetensors").write_bytes(b"half a file")
    for export in cache.glob(f"*{one.version}-fp32*"):
        (export / "manifest.json").unlink()
    again = encoder_at(shop.settings(), one.version)
    np.testing.assert_allclose(again.encode(TEXTS), vectors, atol=1e-5)


def test_the_periodic_job_tunes_and_announces_the_encoder_before_its_model(
    shop: Shop,
) -> None:
    shop.train(EARLY)
    shop.archive(EARLY)
    shop.archive(LATE, 1)
    shop.clock.advance_to(shop.clock.now_ms() + 2 * DAY)
    job = shop.job()
    assert job.encoder_due()
    assert not shop.job(encoder_tuning=quick()).encoder_due()  # it is not enabled
    outcome = job.once_encoder(threading.Event())
    assert outcome is not None
    assert outcome.sequence is not None
    for kind in ("encoder", "sequence"):
        news = announced(shop.store, kind)
        assert news is not None
        assert news.version == shop.current(kind)
    assert not job.encoder_due()
    assert not job.due()


def test_the_encoder_waits_until_a_sequence_model_is_due(shop: Shop) -> None:
    shop.train(EARLY)
    shop.archive(EARLY)
    assert not shop.job().encoder_due()


def test_a_crash_between_the_two_promotions_heals(shop: Shop, first: Shop) -> None:
    outcome = shop.adopt(first)
    shop.registry.rollback("encoder")
    old = shop.train(EARLY)
    shop.registry.promote(outcome.version)  # and the process dies
    shop.archive(EARLY)
    job = shop.job(encoder_tuning=quick())
    assert job.due()
    healed = job.once(threading.Event())
    assert healed is not None
    assert healed.verdict.promote
    assert healed.parent == ""
    assert shop.current("sequence") == healed.version != old
    manifest = shop.registry.manifest(healed.version)
    assert manifest.encoder == encoder_at(shop.settings(), outcome.version).version
    shop.clock.advance_to(shop.clock.now_ms() + 2 * 3_600_000)
    assert not job.due()


def test_the_job_follows_a_rollback_by_hand(shop: Shop, first: Shop) -> None:
    outcome = shop.adopt(first)
    job = shop.job()
    assert outcome.version in job._encoder.version
    shop.registry.rollback("encoder")
    job._follow()
    assert job._encoder.version == load_encoder(shop.settings().encoder).version


def test_without_events_nothing_is_tuned(shop: Shop) -> None:
    job = shop.job()
    assert job.once_encoder(threading.Event()) is None  # there is no archive
    with pytest.raises(ModelError, match="too few to learn"):
        shop.tune([])
    assert shop.registry.entries() == []
