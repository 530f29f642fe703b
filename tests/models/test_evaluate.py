from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluate import NextMeter, RerankMeter, history_bucket, mean_rank, ndcg_at
from models.evaluation import _ranks


def test_ranks_of_ties_are_shared() -> None:
    scores = np.array([0.2, 0.9, 0.2, 0.2, 0.0])
    assert [mean_rank(scores, place) for place in range(5)] == [3.0, 1.0, 3.0, 3.0, 5.0]
    assert mean_rank(np.zeros(4), 1) == 2.5
    assert mean_rank(np.array([-np.inf, 1.0, -np.inf]), 2) == 2.5


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.data())
def test_a_tables_ranks_are_those_of_its_rows(scores: list[int], data: st.DataObject) -> None:
    n_rows = data.draw(st.integers(1, 5))
    table = np.array([np.roll(scores, row) for row in range(n_rows)], dtype=np.float32)
    places = st.tuples(st.integers(0, n_rows - 1), st.integers(0, len(scores) - 1))
    asked = data.draw(st.lists(places, min_size=1, max_size=300))
    rows, items = np.array(asked).T
    expected = [mean_rank(table[row], item) for row, item in asked]
    assert _ranks(table, rows, items).tolist() == expected


def test_ndcg_of_known_lists() -> None:
    assert ndcg_at([True, False, False]) == 1
    assert ndcg_at([False, True]) == pytest.approx(1 / math.log2(3))
    assert ndcg_at([True, False, True]) == pytest.approx((1 + 0.5) / (1 + 1 / math.log2(3)))
    assert ndcg_at([False] * 10 + [True]) == 0
    assert ndcg_at([False, False]) == 0
    assert ndcg_at([True] * 20) == 1


def test_histories_fall_into_buckets() -> None:
    lengths = [0, 1, 4, 5, 29, 30, 10_000]
    assert [history_bucket(n) for n in lengths] == ["0", "1-4", "1-4", "5-29", "5-29", "30+", "30+"]


def a_meter() -> NextMeter:
    meter = NextMeter()
    for rank, user, history in ((1, "a", 0), (3, "a", 1), (10, "a", 7), (10.5, "b", 0)):
        meter.add(rank, user, history, 1000)
    return meter


def test_next_item_metrics_are_means_over_predictions_and_over_users() -> None:
    summary = a_meter().summary()
    gains = [1, 1 / 2, 1 / math.log2(11), 0]
    assert summary["n"] == 4
    assert summary["hr@10"] == 0.75
    assert summary["ndcg@10"] == pytest.approx(sum(gains) / 4)
    assert summary["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 10 + 1 / 10.5) / 4)
    assert summary["user_hr@10"] == 0.5
    assert summary["user_ndcg@10"] == pytest.approx(sum(gains) / 3 / 2)
    assert summary["user_mrr"] == pytest.approx(((1 + 1 / 3 + 1 / 10) / 3 + 1 / 10.5) / 2)


def test_each_bucket_has_its_own_means() -> None:
    report = a_meter().by_history()
    assert report.keys() == {"0", "1-4", "5-29"}
    assert report["0"] == {
        "n": 2,
        "hr@10": 0.5,
        "ndcg@10": 0.5,
        "mrr": pytest.approx((1 + 1 / 10.5) / 2),
    }
    assert report["5-29"]["hr@10"] == 1


def test_coverage_is_the_share_of_the_catalogue_in_any_list() -> None:
    meter = a_meter()
    meter.listed(np.array([[1, 2, -1], [2, 3, 4]]), 10)
    meter.listed(np.array([[4, 9]]), 20)
    assert meter.summary()["coverage"] == 5 / 20


def test_nothing_measured_gives_an_empty_report() -> None:
    assert NextMeter().summary() == {"n": 0}
    assert NextMeter().by_history() == {}
    assert NextMeter().over_time() == ([], [])
    assert RerankMeter().summary() == {"n": 0}
    assert RerankMeter().over_time() == ([], [])


def test_hit_rate_over_time_is_in_equal_slices() -> None:
    meter = NextMeter()
    for n in range(100):
        meter.add(1 if n < 50 else 99, "u", 0, n)
    assert meter.over_time() == ([49, 99], [1.0, 0.0])


def test_shown_lists_are_scored_in_the_new_order() -> None:
    meter = RerankMeter()
    taken = np.array([False, False, True])
    meter.add(np.array([3.0, 2.0, 1.0]), taken, 0)
    meter.add(np.array([1.0, 2.0, 3.0]), taken, 0)
    assert meter.summary() == {
        "n": 2,
        "ndcg@10": pytest.approx((0.5 + 1) / 2),
        "mrr": pytest.approx((1 / 3 + 1) / 2),
    }


def test_ties_keep_the_shown_order() -> None:
    meter = RerankMeter()
    meter.add(np.zeros(3), np.array([False, True, False]), 0)
    assert meter.summary()["mrr"] == 0.5


def test_novelty_and_deciles_tell_the_popular_from_the_rare() -> None:
    taken = np.array([90, 5, 5, 0, 0, 0, 0, 0, 0, 0])
    popular, rare = NextMeter(), NextMeter()
    popular.listed(np.array([[0, 0, 1], [0, 0, 0]]), 10)
    rare.listed(np.array([[8, 9, -1]]), 10)
    for meter in (popular, rare):
        meter.add(1, "ann", 0, 0)
    many, few = popular.popularity(taken), rare.popularity(taken)
    assert many["deciles"] == pytest.approx([5 / 6, 1 / 6, *[0] * 8])
    assert few["deciles"] == pytest.approx([*[0] * 8, 0.5, 0.5])
    assert few["novelty"] == pytest.approx(np.log2(110))  # a chance of 1 / (100 + 10)
    assert many["novelty"] < few["novelty"]
    assert NextMeter().popularity(taken) == {}


def test_a_catalogue_that_grew_keeps_what_was_listed_before() -> None:
    meter = NextMeter()
    meter.listed(np.array([[0, 1]]), 2)
    meter.listed(np.array([[1, 3]]), 4)
    found = meter.popularity(np.array([3, 2, 1, 0]))["deciles"]
    assert found == pytest.approx([0.25, 0.5, 0.0, 0.25])
