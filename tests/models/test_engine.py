"""Lists of the engine: what its settings do to them."""

from __future__ import annotations

import pytest

from features.contexts import ask
from models.engine import Engine
from models.sources.base import World
from stream.settings import Settings
from tests.builders import NOON
from tests.models.sources.shop import SIGNED, put, tell, visits, world


def listed(place: World, **groups: object) -> str:
    """Return the list of who took z, a letter each, by how often each of them follows it."""
    settings = {"sources": {"enabled": ["last"]}} | groups
    engine = Engine(Settings.model_validate(settings), place)
    engine.weights["next"][:] = 0
    engine.weights["next"][:, engine.signals.names.index("last.rank")] = 1
    (chunk,) = engine.look([ask(visits("z"), NOON, place.catalogue, SIGNED)])
    lists, _ = engine.finish(chunk)
    return "".join(place.catalogue.ids[item] for item in lists.item[0].tolist() if item >= 0)


@pytest.fixture
def place() -> World:
    """Return a world where a, b and c follow z, of which b is like a."""
    place = world()
    vectors = {"a": (1, 0), "b": (0.99, 0.1), "c": (-0.3, 1), "z": (-1, -1)}
    for item, vector in vectors.items():
        put(place, item, vector=vector)
    tell(place, "z", {"a": 3, "b": 2.9, "c": 2.8})
    return place


def test_a_list_is_as_diverse_as_it_is_set(place: World) -> None:
    assert listed(place, recommend={"diversity": 0, "explore": 0}) == "abc"
    assert listed(place, recommend={"diversity": 0.9, "explore": 0}) == "acb"


@pytest.mark.parametrize("axes", [0, 1])
def test_content_is_compared_on_as_many_axes_as_are_set(place: World, axes: int) -> None:
    sources = {"enabled": ["content"], "content_axes": axes}
    engine = Engine(Settings.model_validate({"sources": sources}), place)
    assert engine.near.vectors().shape == (4, axes or 2)
