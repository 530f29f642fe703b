from __future__ import annotations

import gc

import pytest

from stream.collector import resting


def test_the_collector_rests_and_goes_on_whatever_happens() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError), resting():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
