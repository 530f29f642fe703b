from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.topk import top_k

F32 = NDArray[np.float32]

values = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, -1.0]),
    st.floats(-1, 1, width=32, allow_subnormal=False),
)
tables = st.tuples(st.integers(0, 4), st.integers(0, 120)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=values, fill=st.just(0.0))
)


def by_sorting(scores: F32, k: int) -> NDArray[np.int32]:
    places = np.full((len(scores), k), -1, dtype=np.int32)
    for row, its in enumerate(scores):
        order = [int(place) for place in np.argsort(-its, kind="stable") if its[place] > 0][:k]
        places[row, : len(order)] = order
    return places


@settings(max_examples=200, deadline=None)
@given(tables, st.integers(1, 60))
def test_top_k_equals_sorting(scores: F32, k: int) -> None:
    assert top_k(scores, k).tolist() == by_sorting(scores, k).tolist()


def test_top_k_equals_sorting_on_large_tables() -> None:
    rng = np.random.default_rng(7)
    dense = rng.random((8, 5003), dtype=np.float32)
    sparse = np.where(rng.random(dense.shape) < 0.01, dense, 0).astype(np.float32)
    tied = np.round(dense, 2)
    for scores in (dense, sparse, tied, -dense, dense - 0.999):
        assert top_k(scores, 50).tolist() == by_sorting(scores, 50).tolist()
