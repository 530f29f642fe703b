"""What every importer shares: the rows it yields, the options it takes, opening its files."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from stream.errors import LogError
from stream.events import Event
from stream.log import log_size, read_log

__all__ = ["Folder", "Importer", "Meter", "Options", "Reader", "Row", "finite", "lines_of"]


class Row(NamedTuple):
    """One row of a source: an event, or why it is none.

    Attributes
    ----------
    file, line, raw
        Where it stood and what it was.
    event
        The event, None where the row is rejected.
    reason
        Why it is rejected.
    dated
        False where the source gives no time; the event then comes first, with
        the time of the log's first event.
    as_is
        Whether ``raw`` already is the event in the wire format, to be kept byte for byte.
    """

    file: str
    line: int
    raw: bytes
    event: Event | None
    reason: str = ""
    dated: bool = True
    as_is: bool = False


@dataclass(frozen=True)
class Options:
    """What a user may say about a source; each importer names those it understands."""

    items: Path | None = None
    users: Path | None = None
    map: str = ""
    item_map: str = ""
    time_format: str = "auto"
    separator: str = ""
    delimiter: str = ""
    encoding: str = "utf-8-sig"
    header: bool = True

    def check(self, importer: Importer) -> None:
        """Refuse options that the importer would ignore.

        Raises
        ------
        LogError
            One of them was given.
        """
        default = Options()
        for option in fields(self):
            name = option.name
            if getattr(self, name) != getattr(default, name) and name not in importer.accepts:
                flag = "--no-header" if name == "header" else "--" + name.replace("_", "-")
                known = ", ".join("--" + one.replace("_", "-") for one in importer.accepts)
                mend = f"it understands {known}" if known else "leave it out"
                raise LogError(f"the importer {importer.name} takes no {flag}", mend)


class Reader(Protocol):
    """Reads a source row by row."""

    def __call__(self, source: Path, options: Options, meter: Meter) -> Iterator[Row]:
        """Yield each row, good or bad; raise LogError where the source is not of this kind."""
        ...


@dataclass(frozen=True)
class Importer:
    """A kind of source, as it is registered."""

    name: str
    about: str
    read: Reader
    accepts: tuple[str, ...] = ()


class Meter:
    """How far the reading is, over several files.

    Parameters
    ----------
    tell
        Called with a share from 0 to 1.
    """

    def __init__(self, tell: Callable[[float], None] | None = None) -> None:
        self._tell = tell or (lambda _share: None)
        self._total = 0
        self._done = 0

    def expect(self, size: int | None) -> None:
        """Add a file of so many bytes to what is to be read."""
        self._total += size or 0

    def at(self, position: int) -> None:
        """Say how far the current file is read."""
        if self._total:
            self._tell(min((self._done + position) / self._total, 1.0))

    def close(self, size: int | None) -> None:
        """Say that a file is read to its end."""
        self._done += size or 0
        self.at(0)


def finite(text: str) -> float:
    """Read a number, refusing infinities and NaN, which JSON does not know.

    Raises
    ------
    ValueError
        It is none.

    Examples
    --------
    >>> finite("4.5")
    4.5
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number")
    return number


def lines_of(path: Path, meter: Meter) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file, plain or compressed, and move the meter."""
    size = log_size(path)
    yield from read_log(path, on_bytes=meter.at)
    meter.close(size)


class Folder:
    """A folder or a zip file, whose files are found by their last name.

    Parameters
    ----------
    path
        The folder or the zip file.

    Raises
    ------
    LogError
        It is neither.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self._files = {p.name: p for p in sorted(path.rglob("*"), reverse=True) if p.is_file()}
        elif not path.exists():
            raise LogError(f"there is no {path}", "check the path")
        else:
            try:
                self._zip = zipfile.ZipFile(path)
            except zipfile.BadZipFile as error:
                mend = "name the unpacked folder or the zip file as it was downloaded"
                raise LogError(f"{path} is neither a folder nor a zip file", mend) from error
            self._members = {Path(one.filename).name: one for one in self._zip.infolist()}

    def __contains__(self, name: str) -> bool:
        return name in (self._files if self._zip is None else self._members)

    def size(self, name: str) -> int:
        """Return the unpacked size of a file in bytes."""
        if self._zip is None:
            return self._files[name].stat().st_size
        return self._members[name].file_size

    def text(self, name: str, encoding: str, meter: Meter) -> Iterator[str]:
        """Yield the lines of a file with their ends, and move the meter."""
        size, read = self.size(name), 0
        with self._open(name) as raw:
            try:
                for line in raw:
                    read += len(line)
                    if read & 0xFFFF < len(line):  # about every 64 KiB
                        meter.at(read)
                    yield line.decode(encoding, "surrogateescape")
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise LogError(f"{name} in {self.path}: {error}", "download it again") from error
        meter.close(size)

    def _open(self, name: str) -> IO[bytes]:
        if self._zip is None:
            return open(self._files[name], "rb")
        try:
            return self._zip.open(self._members[name])
        except (zipfile.BadZipFile, RuntimeError) as error:
            raise LogError(f"{name} in {self.path}: {error}", "download it again") from error
