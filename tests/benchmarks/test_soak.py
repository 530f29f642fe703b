from __future__ import annotations

import io
import math

import numpy as np
import pytest
from rich.console import Console

from benchmarks.soak import Series, figures, show, slope_of


def test_a_slope_is_found_under_noise_and_its_error_says_how_well() -> None:
    chance = np.random.default_rng(3)
    at_s = [15.0 * n for n in range(120)]
    flat = [100 + float(chance.normal()) for _ in at_s]
    rising = [one + 12 * at / 3600 for one, at in zip(flat, at_s, strict=True)]
    still, grows = slope_of(at_s, flat), slope_of(at_s, rising)
    assert abs(still.per_hour) < 3 * still.error
    assert grows.per_hour - still.per_hour == pytest.approx(12, abs=0.01)
    assert grows.error == still.error > 0


def test_what_fills_up_at_first_is_no_slope() -> None:
    at_s = [15.0 * n for n in range(60)]
    assert slope_of(at_s, [min(300.0, 100 + at) for at in at_s]) == (0.0, 0.0)


def test_too_short_a_run_says_nothing() -> None:
    assert math.isnan(slope_of([0.0, 15.0], [1.0, 2.0]).per_hour)


def test_a_process_that_came_later_has_its_own_times() -> None:
    series = Series(
        at_s=[15.0 * n for n in range(12)],
        mib={"up": [50.0] * 12, "late": [float(n) for n in range(9)]},
        lag=[0, 7] * 6,
        restarted={"late"},
    )
    found = figures(series)
    assert found["processes"]["up"]["per_hour"] == 0
    assert found["processes"]["late"]["per_hour"] == pytest.approx(240)
    assert (found["most_lag"], found["restarted"]) == (7, ["late"])


def test_what_is_left_to_be_read_is_told() -> None:
    series = Series(at_s=[15.0 * n for n in range(6)], mib={"up": [50.0] * 6}, lag=[0, 7] * 3)
    said = io.StringIO()
    told = {"events": 90, "left": 4, "latest_s": 0.5}
    show(told | figures(series), Console(file=said, width=200))
    assert "90 events, the latest 0.50 s late; at most 7 waiting, 4 in the end" in said.getvalue()
