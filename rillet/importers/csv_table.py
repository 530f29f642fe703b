"""Any CSV file, by a map from Rillet's names to the file's columns.

``user=customer_id`` takes a column, ``type:=purchase`` a constant, and
``field.quantity=Quantity`` puts a column into the interaction's fields.
"""

from __future__ import annotations

import csv
import datetime as dt
import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rillet.importers.base import Importer, Meter, Options, Row, finite
from stream.errors import LogError
from stream.events import Event, Field, Interaction, Item, Millis
from stream.log import log_size, read_lines

__all__ = ["IMPORTER", "parse_map", "parse_time"]

TARGETS: Final = ("user", "session", "item", "timestamp", "type", "value", "ranking", "id")
TEXTS: Final = ("title", "name", "description", "brand", "category", "categories", "genres", "tags")
"""Item fields that stay text even where they look like a number."""
_EXAMPLE: Final = "--map user=customer_id,item=sku,timestamp=date,type:=purchase"


class Cell(NamedTuple):
    """Where a value comes from: a column, or a constant."""

    column: str | None
    constant: str = ""


def parse_map(text: str) -> dict[str, Cell]:
    """Read a map as it is written on the command line.

    Raises
    ------
    LogError
        A part is neither ``NAME=COLUMN`` nor ``NAME:=CONSTANT``.

    Examples
    --------
    >>> parse_map("user=customer, type:=purchase")
    {'user': Cell(column='customer', constant=''), 'type': Cell(column=None, constant='purchase')}
    """
    cells = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, sign, source = part.partition("=")
        if not sign or not name.strip(":") or not source:
            mend = f"write NAME=COLUMN or NAME:=CONSTANT, by commas: {_EXAMPLE}"
            raise LogError(f"{part!r} in the map is not understood", mend)
        constant = name.endswith(":")
        cells[name.rstrip(":").strip()] = Cell(None, source) if constant else Cell(source)
    return cells


def parse_time(text: str, how: str = "auto") -> Millis:
    """Read a time.

    Parameters
    ----------
    text
        As it stands in the file.
    how
        ``s``, ``ms``, ``iso``, a pattern with percent signs as ``strptime``
        knows them (UTC where it has no zone), or ``auto``: ISO 8601, or a
        number whose size tells seconds, milli- and microseconds apart.

    Raises
    ------
    ValueError
        The text is no such time.

    Examples
    --------
    >>> parse_time("1700000000") == parse_time("1700000000000") == parse_time("1.7e15")
    True
    >>> int(parse_time("31/12/2023 23:59", "%d/%m/%Y %H:%M"))
    1704067140000
    """
    text = text.strip()
    if how == "auto" and len(text) == len("20240229") and text.isdecimal():
        how = "%Y%m%d"  # as seconds it would be a day in 1970
    if "%" in how:
        moment = dt.datetime.strptime(text, how)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return Millis.parse(round(moment.timestamp() * 1000))
    if how == "iso":
        return Millis.parse(dt.datetime.fromisoformat(text).isoformat())
    try:
        number = float(text)
    except ValueError:
        if how == "auto":
            return Millis.parse(text)
        raise
    if how == "s" or (how == "auto" and abs(number) < 1e11):
        number *= 1000
    elif how == "auto" and abs(number) >= 1e14:
        number /= 1000
    return Millis.parse(number)


def _read(source: Path, options: Options, meter: Meter) -> Iterator[Row]:
    if options.time_format not in ("auto", "s", "ms", "iso") and "%" not in options.time_format:
        mend = "take auto, s, ms, iso, or a pattern like %d/%m/%Y"
        raise LogError(f"--time-format {options.time_format} is not understood", mend)
    cells = _checked(parse_map(options.map))
    item_cells = parse_map(options.item_map)
    if options.items is not None and "item" not in item_cells:
        mend = "--item-map item=sku,title=name,price=price"
        raise LogError("--items needs an --item-map that names the column of the item", mend)
    meter.expect(log_size(source))
    meter.expect(log_size(options.items) if options.items else 0)
    if options.items is not None:
        build = _item_builder(options)
        yield from _table(options.items, item_cells, build, options, meter)
    yield from _table(source, cells, _interaction_builder(source, options), options, meter)


def _checked(cells: dict[str, Cell]) -> dict[str, Cell]:
    for name in cells:
        if name not in TARGETS and not name.startswith("field."):
            near = difflib.get_close_matches(name, TARGETS, n=1)
            hint = f"is {near[0]} meant? " if near else ""
            mend = f"{hint}known: {', '.join(TARGETS)}; others as field.{name}=COLUMN"
            raise LogError(f"the map names {name!r}, which an interaction does not have", mend)
    missing = [name for name in ("item", "timestamp") if name not in cells]
    if "user" not in cells and "session" not in cells:
        missing.insert(0, "user (or session)")
    if missing:
        raise LogError(f"the map lacks {', '.join(missing)}", f"for example {_EXAMPLE}")
    cells.setdefault("type", Cell(None, "click"))
    return cells


Values = dict[str, str]
Build = Callable[[Values, int], tuple[Event, bool]]


def _table(
    path: Path, cells: dict[str, Cell], build: Build, options: Options, meter: Meter
) -> Iterator[Row]:
    reader = _Rows(path, options, meter)
    columns = reader.columns_of(cells)
    for line, row in reader:
        if isinstance(row, csv.Error):
            yield Row(str(path), line, b"", None, f"no CSV: {row}")
            continue
        raw = ",".join(row).encode("utf-8", "surrogateescape")
        try:
            raw.decode()
            values = {
                name: cells[name].constant if place is None else row[place].strip()
                for name, place in columns.items()
            }
            event, dated = build(values, line)
        except UnicodeDecodeError:
            yield Row(str(path), line, raw, None, f"not {options.encoding}; try --encoding latin-1")
        except IndexError:
            reason = f"{len(row)} columns, the header has {len(reader.header)}"
            yield Row(str(path), line, raw, None, reason)
        except ValueError as error:
            yield Row(str(path), line, raw, None, str(error))
        else:
            yield Row(str(path), line, raw, event, dated=dated)


class _Rows:
    """The rows of a CSV file with the numbers of their first lines."""

    def __init__(self, path: Path, options: Options, meter: Meter) -> None:
        self.path, self._size, self._meter = path, log_size(path), meter
        self._lines = read_lines(path, on_bytes=meter.at)
        self._encoding, self._line = options.encoding, 0
        first = next(self._text(), "")
        delimiter = options.delimiter or max(",;\t|", key=first.count)
        self._reader = csv.reader(self._text(), delimiter=delimiter.replace("\\t", "\t"))
        self.header = next(csv.reader([first], delimiter=delimiter.replace("\\t", "\t")), [])
        self._pending = [] if options.header else [self.header]
        if not options.header:
            self.header = [str(place) for place in range(1, len(self.header) + 1)]

    def _text(self) -> Iterator[str]:
        for line, raw in self._lines:
            self._line = line
            encoding = self._encoding if line == 1 else self._encoding.replace("-sig", "")
            yield raw.decode(encoding, "surrogateescape")

    def columns_of(self, cells: dict[str, Cell]) -> dict[str, int | None]:
        """Return the place of each mapped column, None for constants."""
        places: dict[str, int | None] = {}
        for name, cell in cells.items():
            if cell.column is not None and cell.column not in self.header:
                near = difflib.get_close_matches(cell.column, self.header, n=1)
                hint = f"is {near[0]} meant? " if near else ""
                mend = f"{hint}its columns: {', '.join(self.header)}"
                raise LogError(f"{self.path} has no column {cell.column!r}", mend)
            places[name] = None if cell.column is None else self.header.index(cell.column)
        return places

    def __iter__(self) -> Iterator[tuple[int, list[str] | csv.Error]]:
        for row in self._pending:
            yield 1, row
        while True:
            first = self._line + 1
            try:
                row = next(self._reader)
            except StopIteration:
                break
            except csv.Error as error:  # of this row alone; the next may be well
                yield first, error
            else:
                if row:
                    yield first, row
        self._meter.close(self._size)


def _interaction_builder(source: Path, options: Options) -> Build:
    stem = source.name.partition(".")[0]

    def build(values: Values, line: int) -> tuple[Event, bool]:
        value = values.get("value", "")
        event = Interaction(
            timestamp=parse_time(values["timestamp"], options.time_format),
            id=values.get("id") or f"{stem}-{line}",
            user=values.get("user") or None,
            session=values.get("session") or None,
            type=values["type"],
            item=values["item"],
            ranking=values.get("ranking") or None,
            value=finite(value) if value else None,
            fields=[
                _field(name.removeprefix("field."), text, options.separator)
                for name, text in values.items()
                if name.startswith("field.") and text
            ],
        )
        return event, True

    return build


def _item_builder(options: Options) -> Build:
    def build(values: Values, line: int) -> tuple[Event, bool]:
        time = values.get("timestamp", "")
        fields = [
            _field(name, text, options.separator)
            for name, text in values.items()
            if name not in ("item", "timestamp") and text
        ]
        item = values["item"]
        stamp = parse_time(time, options.time_format) if time else Millis(0)
        return Item(timestamp=stamp, id=f"item-{item}", item=item, fields=fields), bool(time)

    return build


def _field(name: str, text: str, separator: str) -> Field:
    if separator and separator in text:
        return Field(name, [part.strip() for part in text.split(separator) if part.strip()])
    if name in TEXTS:
        return Field(name, text)
    try:
        return Field(name, finite(text))
    except ValueError:
        return Field(name, text)


IMPORTER = Importer(
    "csv",
    f"any CSV file: {_EXAMPLE}",
    _read,
    accepts=tuple(name for name in Options.__dataclass_fields__ if name != "users"),
)
