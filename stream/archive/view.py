"""What an archive holds at one moment: its spans, what counts of them, who is forgotten."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from stream.archive.files import Files
from stream.archive.forgotten import ASKED, Forgotten, Link, links_in
from stream.archive.spans import SPANS, Part, Span, parse_span, parts_of, place_of
from stream.archive.table import read_table
from stream.errors import LogError
from stream.keys import token_of
from stream.records import TopicPartition

__all__ = ["FORGOTTEN", "Mark", "View", "mark_path", "marks_in", "no_archive"]

log = logging.getLogger(__name__)

FORGOTTEN: Final = "_forgotten"
"""The folder of who was forgotten by hand."""

TRIES: Final = 10
_MARK: Final = re.compile(rf"{FORGOTTEN}/[0-9a-f]+\.json")


class Mark(Struct, frozen=True):
    """Who was forgotten by hand, as a token, and up to when in epoch milliseconds."""

    user: str
    until: int


def marks_in(files: Files, names: Iterable[str]) -> dict[str, Mark]:
    """Read the marks among these files: path -> mark.

    Raises
    ------
    LogError
        One is damaged.
    """
    paths = sorted(name for name in names if _MARK.fullmatch(name))
    marks = {}
    for path, raw in zip(paths, files.read_many(paths), strict=True):
        if raw is not None:
            try:
                marks[path] = msgspec.json.decode(raw, type=Mark)
            except msgspec.MsgspecError as error:
                mend = "forget that user again, and remove it"
                raise LogError(f"{path} of the archive is damaged: {error}", mend) from error
    return marks


def no_archive(files: Files) -> LogError:
    """Return the error that says so."""
    mend = "check the path; `rillet consume archive` makes one"
    return LogError(f"there is no archive in {files.url}", mend)


def mark_path(user: str) -> str:
    """Return where the mark of a forgotten user lies; it does not name him."""
    return f"{FORGOTTEN}/{token_of(user).partition(':')[2]}.json"


class View:
    """An archive as it is now; others may write to it, compact it and prune it meanwhile.

    Parameters
    ----------
    files
        Where it lies.

    Attributes
    ----------
    spans
        Partition -> its spans.
    parts
        Partition -> what counts of its files, by offset.
    missing
        Files that spans name and that are not there: somebody removed them.
    forgotten
        Whose rows do not count any more.

    Raises
    ------
    LogError
        There is no archive, or a part of it is damaged.
    FolderError
        Its filesystem cannot be reached or refuses.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.spans: dict[TopicPartition, list[Span]] = {}
        self.parts: dict[TopicPartition, list[Part]] = {}
        self.missing: list[str] = []
        self.forgotten = Forgotten()
        self.renew()

    def renew(self) -> None:
        """Look again."""
        spans, present = _listed(self.files)
        if not spans:
            raise no_archive(self.files)
        self.spans = {}
        for span in spans:
            self.spans.setdefault(span.place, []).append(span)
        self.parts = {place: parts_of(own, present) for place, own in sorted(self.spans.items())}
        named = {file.path for span in spans for file in span.files}
        missing = sorted(named - present)
        if missing and missing != self.missing:
            log.warning(
                "%s: %d files are gone, such as %s; what was in them is left out",
                *(self.files.url, len(missing), missing[0]),
            )
        self.missing = missing
        self.forgotten = self._who_is_forgotten(present)

    def days(self) -> list[str]:
        """Return the days that have rows, the earliest first."""
        return sorted({part.file.day for parts in self.parts.values() for part in parts})

    def _who_is_forgotten(self, present: set[str]) -> Forgotten:
        forgotten = Forgotten()
        for place, spans in self.spans.items():
            for span in spans:
                for user, (time, offset) in span.forgotten.items():
                    forgotten.add(user, time, place, offset)
        for mark in marks_in(self.files, present).values():
            forgotten.mark(mark.user, mark.until)
        self._follow(forgotten)
        return forgotten

    def linked_to(self, user: str, until: int) -> dict[str, int]:
        """Return a user and the visitors who turned out to be him, by token, and until when."""
        forgotten = Forgotten()
        forgotten.add(user, until)
        self._follow(forgotten)
        return forgotten.until()

    def _follow(self, forgotten: Forgotten) -> None:
        """Forget the visitors too who turned out to be forgotten users, and theirs in turn."""
        known: set[Link] = set()
        while forgotten:
            found = set(self._links(forgotten)) - known
            if not found:
                return
            known |= found
            for link in found:
                forgotten.add(link.anonymous, link.time, link.place, link.offset)

    def _links(self, forgotten: Forgotten) -> Iterator[Link]:
        for place, parts in self.parts.items():
            for path in dict.fromkeys(part.file.path for part in parts if part.file.identifies):
                try:
                    for batch in read_table(self.files, path, ASKED):
                        yield from links_in(forgotten, place, batch)
                except FileNotFoundError:  # compacted meanwhile: whoever reads it will look again
                    continue


def _listed(files: Files) -> tuple[list[Span], set[str]]:
    """Return all spans, and the files that are there.

    Spans are listed first: what they name was written before. Where some of
    it is gone all the same, a compaction may have put other spans in their
    place meanwhile, so that all is looked at again until nothing has moved.
    """
    names = _span_names(files)
    for _ in range(TRIES):
        raws: list[Any] = files.read_many(names)
        spans = [parse_span(n, raw) for n, raw in zip(names, raws, strict=True) if raw is not None]
        present = files.below()
        whole = all(file.path in present for span in spans for file in span.files)
        if whole and len(spans) == len(names):
            return spans, present
        again = _span_names(files)
        if again == names:
            return spans, present
        names = again
    raise LogError(f"{files.url} changes faster than it can be read", "try again later")


def _span_names(files: Files) -> list[str]:
    return sorted(name for name in files.below(SPANS) if place_of(name) is not None)
