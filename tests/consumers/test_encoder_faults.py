"""What goes wrong between an encoder and the sequence models that read its vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream import metrics
from stream.settings import Settings
from stream.store import Store
from tests.builders import DAY, NOON
from tests.consumers.test_encoder_job import Shop
from tests.tiny_encoder import make_encoder
from tests.tuned import WORDS, quick, walks

EARLY = walks()
LATE = walks(begin=NOON + 3 * DAY, seed=9)


class Killed(BaseException):
    """The process is dead."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store.url
    store.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "tiny", WORDS)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, server: str, tiny: Path) -> Iterator[Shop]:
    """A shop with an encoder that was tuned on the early events."""
    one = Shop(tmp_path_factory.mktemp("first"), server, tiny)
    one.first = one.tune(EARLY)
    assert one.first.verdict.promote
    yield one
    one.store.close()


@pytest.fixture
def shop(tmp_path: Path, server: str, tiny: Path) -> Iterator[Shop]:
    one = Shop(tmp_path, server, tiny)
    metrics.reset()
    yield one
    one.store.close()


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
