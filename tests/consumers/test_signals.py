"""Features of pairs, and how what they say is credited to sources."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.personalize import Personalize
from features.contexts import ask, meaning_of
from models.engine import Chunk, Engine
from models.finish import log_sums
from models.mixture import Mixture
from models.pairs import Pairs
from tests.consumers.small_log import Result


@pytest.fixture(scope="module")
def engine(usual: Result) -> Engine:
    assert isinstance(usual.replay.personalize, Personalize)
    return usual.replay.personalize.engine


@pytest.fixture(scope="module")
def chunk(engine: Engine, usual: Result) -> Chunk:
    signed = meaning_of(engine.settings)
    sessions = usual.sessions()
    asked = [
        ask(one, one.as_of.event_time, engine.world.catalogue, signed)
        for one in sessions.values()
        if one.events
    ]
    (chunk,) = engine.look(asked)
    return chunk


def features(engine: Engine, chunk: Chunk, pairs: Pairs) -> NDArray[np.float32]:
    return engine.signals.of(chunk.retrieval, chunk.retrieval.see(pairs), chunk.segment)


def test_contributions_add_up_to_the_score(engine: Engine, chunk: Chunk) -> None:
    view = chunk.retrieval.see(chunk.retrieval.candidates())
    scores, x = engine.score(chunk, view)
    weights = engine.weights["next"][chunk.segment[view.pairs.row]].astype(np.float32)
    part = engine.signals.credit(view, chunk.segment, x * weights)
    assert part.shape == (len(view.pairs), len(engine.signals.owners))
    assert part.sum(axis=1) == pytest.approx(scores, abs=1e-4)
    assert np.ptp(scores) > 1


def test_chances_over_all_candidates_sum_to_one(engine: Engine, chunk: Chunk) -> None:
    pairs = chunk.retrieval.candidates()
    scores, _ = engine.score(chunk, chunk.retrieval.see(pairs))
    total = log_sums(pairs, scores, len(chunk))
    chances = np.bincount(pairs.row, np.exp(scores - total[pairs.row]), len(chunk))
    assert chances == pytest.approx(np.ones(len(chunk)))
    listed = engine.finish(chunk)[0].chance
    assert (listed.sum(axis=1) <= 1 + 1e-9).all()
    assert (listed[:, 0] > listed[:, -1]).all()


def test_features_do_not_depend_on_who_else_is_asked(engine: Engine, chunk: Chunk) -> None:
    pairs = chunk.retrieval.candidates(np.array([1, 3], dtype=np.int32))
    assert set(pairs.row.tolist()) == {1, 3}
    whole = chunk.retrieval.candidates()
    mine = np.isin(whole.row, [1, 3])
    assert np.array_equal(whole.item[mine], pairs.item)
    assert np.array_equal(features(engine, chunk, pairs), features(engine, chunk, whole)[mine])


def test_pairs_in_no_order_and_twice_have_the_features_of_each(
    engine: Engine, chunk: Chunk
) -> None:
    whole = chunk.retrieval.candidates()
    x = features(engine, chunk, whole)
    places = np.random.default_rng(0).integers(0, len(whole), 200)
    assert len(set(places.tolist())) < 200
    again = Pairs(whole.row[places], whole.item[places])
    assert np.array_equal(features(engine, chunk, again), x[places])
    part = chunk.retrieval.see(whole).take(places)
    assert np.array_equal(engine.signals.of(chunk.retrieval, part, chunk.segment), x[places])


def test_a_finished_list_comes_with_what_all_sources_say_of_it(
    engine: Engine, chunk: Chunk
) -> None:
    lists, view = engine.finish(chunk)
    there = lists.item >= 0
    row = np.nonzero(there)[0]
    assert view.pairs.row.reshape(there.shape)[there].tolist() == row.tolist()
    assert view.pairs.item.reshape(there.shape)[there].tolist() == lists.item[there].tolist()
    said = view.score.reshape(len(engine.sources), *there.shape)
    for source in range(len(engine.sources)):
        scores = chunk.retrieval.table(source)[row, lists.item[there]]
        assert said[source][there].tolist() == scores.tolist()
    assert (said.max(axis=0)[there] > 0).all()  # somebody proposed it
    assert there.sum() > 50


def test_interest_in_a_category_is_the_share_of_what_was_taken(
    engine: Engine, chunk: Chunk
) -> None:
    pairs = chunk.retrieval.candidates()
    x = features(engine, chunk, pairs)
    share = x[:, engine.signals.names.index("category")]
    assert 0 <= share.min() < 0.1
    assert 0.9 < share.max() <= 1 + 1e-6


def test_the_mixture_is_credited_to_who_knew() -> None:
    mixture = Mixture(sources=2, segments=1)
    lift, segment = np.array([[9.0, 0.0], [0.0, 0.0]], np.float32), np.zeros(2, np.int32)
    found = mixture.responsible(lift, segment)
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert found[0].tolist() == pytest.approx([0.9, 0, 0.1])
    assert found[1].tolist() == [0, 0, 1]


def test_pairs_of_nobody_have_no_features(engine: Engine, chunk: Chunk) -> None:
    none = Pairs(np.zeros(0, np.int32), np.zeros(0, np.int32))
    assert features(engine, chunk, none).shape == (0, len(engine.signals.names))
