from __future__ import annotations

import pytest

from models.sources.registry import SOURCES, build_sources
from stream.errors import SettingsError
from tests.models.sources.shop import world


def test_all_sources_are_on_where_none_is_named() -> None:
    assert [source.name for source in build_sources(world("ab"))] == list(SOURCES)


def test_the_order_is_the_registrys() -> None:
    chosen = build_sources(world("ab"), enabled=("new", "repeat", "neighbours"))
    assert [source.name for source in chosen] == ["neighbours", "repeat", "new"]


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"no source is called knn, magic$") as caught:
        build_sources(world(), enabled=("repeat", "magic", "knn"))
    assert "sources.enabled" in str(caught.value)
    assert all(name in caught.value.mend for name in SOURCES)
