"""Reading for many at once: an error that nobody foresaw is told, and reading goes on."""

from __future__ import annotations

import asyncio

import pytest

from rillet.serving.reader import Reader
from stream.errors import StoreError
from tests.serving.conftest import settings_of


def test_an_odd_error_is_told_and_the_next_ones_are_read(
    redis_url: str, known: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> bytes | None:
        reader = Reader(settings_of(redis_url))
        await reader.start()
        with pytest.raises(StoreError, match="log says why"):
            await reader.get("\ud800")  # no text that can be sent
        assert reader.away is None
        raw = await reader.get(reader.keys.recs(known))
        await reader.close()
        return raw

    assert asyncio.run(asyncio.wait_for(go(), 20))
    assert any(line.exc_info for line in caplog.records)
