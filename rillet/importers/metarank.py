"""metarank's event log (JSONL): Rillet reads its events as they are, so lines pass unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rillet.importers.base import Importer, Meter, Options, Row, lines_of
from stream.events import BadRecord, decode
from stream.log import log_size

__all__ = ["IMPORTER"]


def _read(source: Path, options: Options, meter: Meter) -> Iterator[Row]:
    meter.expect(log_size(source))
    for line, raw in lines_of(source, meter):
        event = decode(raw)
        if isinstance(event, BadRecord):
            place = f"{event.field}: " if event.field else ""
            yield Row(str(source), line, raw, None, f"{place}{event.message}")
        else:
            yield Row(str(source), line, raw, event, as_is=True)


IMPORTER = Importer(
    "metarank", "metarank's (and Rillet's own) JSONL, plain or compressed; also sorts it", _read
)
