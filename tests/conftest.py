"""What holds for every test."""

from __future__ import annotations

import os

import hypothesis
import pytest

from tests.own_redis import own_redis

__all__ = ["own_redis"]

# How long an example takes is for the benchmarks to say; here it depends on who else is busy.
hypothesis.settings.register_profile("rillet", deadline=None)
hypothesis.settings.load_profile("rillet")


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out whatever settings the shell has that runs the tests."""
    for name in list(os.environ):
        if name.startswith("RILLET_") and not name.startswith("RILLET_TEST_"):
            monkeypatch.delenv(name)
