"""MovieLens in its three layouts: csv (latest, 25m, 32m), ``::`` dat (1m, 10m), tabs (100k).

Ratings become interactions of type ``rating`` with their value. Tags become
interactions of type ``tag``, not text of the film: put into the item event they
would tell the past what the future wrote.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rillet.importers.base import Folder, Importer, Meter, Options, Row, finite
from stream.errors import LogError
from stream.events import Event, Field, Interaction, Item, Millis, User

__all__ = ["IMPORTER"]

GENRES_100K: Final = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy"
    "|Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
).split("|")

_YEAR: Final = re.compile(r"^(.*?)\s*\((\d{4})\)\s*$")
_NO_GENRES: Final = ("", "(no genres listed)", "unknown")

Cells = list[str]
Build = Callable[[Cells, int], tuple[Event, bool]]
Split = Callable[[Iterator[str]], Iterator[Cells]]


def _comma(lines: Iterator[str]) -> Iterator[Cells]:
    return csv.reader(lines)


def _split(separator: str) -> Split:
    return lambda lines: (line.rstrip("\r\n").split(separator) for line in lines)


def _read(source: Path, options: Options, meter: Meter) -> Iterator[Row]:
    folder = Folder(source)
    for main, parts in _LAYOUTS.items():
        if main in folder:
            present = [part for part in parts if part[0] in folder]
            for name, *_ in present:
                meter.expect(folder.size(name))
            for name, encoding, skip, split, build in present:
                lines = folder.text(name, encoding, meter)
                yield from _rows(name, split(lines), build, skip)
            return
    wanted = ", ".join(_LAYOUTS)
    mend = f"name the unpacked folder or the zip of a MovieLens set; it has one of: {wanted}"
    raise LogError(f"{source} holds no MovieLens ratings", mend)


def _rows(name: str, table: Iterator[Cells], build: Build, skip: int) -> Iterator[Row]:
    for line, cells in enumerate(table, start=1):
        if line <= skip or not any(cells):
            continue
        raw = "\t".join(cells).encode("utf-8", "surrogateescape")
        try:
            event, dated = build(cells, line)
        except (ValueError, IndexError) as error:
            reason = f"{len(cells)} columns are too few" if isinstance(error, IndexError) else error
            yield Row(name, line, raw, None, str(reason))
        else:
            yield Row(name, line, raw, event, dated=dated)


def _rating(cells: Cells, line: int) -> tuple[Event, bool]:
    user, item, value, time = cells[:4] if len(cells) >= 4 else _short(cells)
    event = Interaction(
        timestamp=_seconds(time),
        id=f"rating-{line}",
        user=user,
        type="rating",
        item=item,
        value=finite(value),
    )
    return event, True


def _tag(cells: Cells, line: int) -> tuple[Event, bool]:
    user, item, tag, time = cells[:4] if len(cells) >= 4 else _short(cells)
    event = Interaction(
        timestamp=_seconds(time),
        id=f"tag-{line}",
        user=user,
        type="tag",
        item=item,
        fields=[Field("tag", tag)],
    )
    return event, True


def _short(cells: Cells) -> Cells:
    raise ValueError(f"{len(cells)} columns where 4 are needed")


def _seconds(text: str) -> Millis:
    return Millis.parse(int(text) * 1000)


def _film(item: str, title: str, genres: list[str]) -> tuple[Event, bool]:
    found = _YEAR.match(title)
    fields = [Field("title", found.group(1) if found else title)]
    if found:
        fields.append(Field("year", float(found.group(2))))
    named = [genre for genre in genres if genre not in _NO_GENRES]
    if named:
        fields.append(Field("genres", list(named)))
    return Item(timestamp=Millis(0), id=f"item-{item}", item=item, fields=fields), False


def _movie(cells: Cells, line: int) -> tuple[Event, bool]:
    return _film(cells[0], cells[1], cells[2].split("|"))


def _movie_100k(cells: Cells, line: int) -> tuple[Event, bool]:
    flags = cells[5:24]
    return _film(
        cells[0], cells[1], [g for g, f in zip(GENRES_100K, flags, strict=True) if f == "1"]
    )


def _user(names: tuple[str, ...]) -> Build:
    def build(cells: Cells, line: int) -> tuple[Event, bool]:
        fields = [Field(name, value) for name, value in zip(names, cells[1:], strict=False)]
        user = cells[0]
        return User(timestamp=Millis(0), id=f"user-{user}", user=user, fields=fields), False

    return build


_DAT, _PIPE, _TAB = _split("::"), _split("|"), _split("\t")
_LAYOUTS: Final[dict[str, list[tuple[str, str, int, Split, Build]]]] = {
    "ratings.csv": [
        ("movies.csv", "utf-8-sig", 1, _comma, _movie),
        ("ratings.csv", "utf-8-sig", 1, _comma, _rating),
        ("tags.csv", "utf-8-sig", 1, _comma, _tag),
    ],
    "ratings.dat": [
        ("movies.dat", "latin-1", 0, _DAT, _movie),
        ("users.dat", "latin-1", 0, _DAT, _user(("gender", "age", "occupation", "zip"))),
        ("ratings.dat", "latin-1", 0, _DAT, _rating),
        ("tags.dat", "latin-1", 0, _DAT, _tag),
    ],
    "u.data": [
        ("u.item", "latin-1", 0, _PIPE, _movie_100k),
        ("u.user", "latin-1", 0, _PIPE, _user(("age", "gender", "occupation", "zip"))),
        ("u.data", "latin-1", 0, _TAB, _rating),
    ],
}

IMPORTER = Importer(
    "movielens", "a MovieLens folder or zip: latest/25m (csv), 1m/10m (dat), 100k", _read
)
