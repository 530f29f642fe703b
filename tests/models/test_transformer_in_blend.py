"""The finished list follows what the Transformer alone can know: the order of the alphabet."""

from __future__ import annotations

import pytest

from features.contexts import ask
from features.session import Session
from models.engine import Engine
from models.sources.base import World
from models.sources.registry import SOURCES
from models.sources.transformer import Transformer
from stream.settings import Settings
from tests.builders import MINUTE, NOON, folded, interaction
from tests.models.sources.shop import SIGNED, put, world
from tests.models.sources.tiny import LETTERS, serve, vector


@pytest.fixture
def engine() -> Engine:
    """An engine that has learned nothing, of all sources but those that read contents.

    They have opinions of ten letters by themselves.
    """
    place: World = world(LETTERS)
    for letter in LETTERS:
        put(place, letter, vector=vector(letter).tolist())
    usual = {"diversity": 0, "explore": 0, "repeats": "allow"}
    enabled = tuple(one for one in SOURCES if one not in ("content", "taste", "query"))
    groups = {"recommend": usual, "sources": {"enabled": enabled}}
    return Engine(Settings.model_validate(groups), place)


def source_of(engine: Engine) -> Transformer:
    return next(one for one in engine.sources if isinstance(one, Transformer))


def after(k: int, step: int = 1) -> Session:
    """Return who took three letters, of which the last is number k."""
    taken = [LETTERS[(k - step * back) % len(LETTERS)] for back in (2, 1, 0)]
    return folded([interaction(one, NOON + n * MINUTE) for n, one in enumerate(taken)])


def firsts(engine: Engine, step: int = 1) -> tuple[list[str], list[float]]:
    """Return the first letter of each list, and the Transformer's part of its score."""
    catalogue = engine.world.catalogue
    now = NOON + 3 * MINUTE
    asked = [ask(after(k, step), now, catalogue, SIGNED) for k in range(len(LETTERS))]
    (chunk,) = engine.look(asked)
    lists, _ = engine.finish(chunk)
    if not lists.item.shape[1]:
        return [], []
    owner = engine.signals.owners.index("transformer")
    return [catalogue.ids[item] for item in lists.item[:, 0]], lists.part[:, 0, owner].tolist()


def hits(found: list[str], step: int) -> int:
    wanted = [LETTERS[(k + step) % len(LETTERS)] for k in range(len(LETTERS))]
    return sum(one == other for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("step", [1, -1])
def test_the_list_begins_with_what_it_alone_expects(engine: Engine, step: int) -> None:
    assert firsts(engine, step) == ([], [])  # nobody else knows anything
    serve(source_of(engine), engine.world, step=step)
    found, parts = firsts(engine, step)
    assert hits(found, step) == len(LETTERS)
    assert min(parts) > 0


def test_another_model_gives_another_list(engine: Engine) -> None:
    serve(source_of(engine), engine.world)
    forwards, _ = firsts(engine)
    serve(source_of(engine), engine.world, step=-1)
    backwards, _ = firsts(engine)
    assert forwards != backwards
