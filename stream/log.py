"""Event logs on disk: one JSON record a line, plain, gzip or zstandard; and archives as logs.

Reading looks at the first bytes of a file, not at its name, so that a renamed
or piped log is read as well. Writing goes to a temporary name beside the
target and is renamed when all is written, so that nobody ever sees half a log.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Self, cast

from stream.archive.reader import archive_bytes, is_archive, read_events
from stream.errors import LogError

__all__ = ["LogWriter", "log_size", "read_lines", "read_log"]

STDIO: Final = "-"
MAX_LINE: Final = 64 << 20
"""No record is this long; a file with such a line is no event log."""

_CHUNK: Final = 1 << 18
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_DAMAGED: Final = "copy or download it again; what came before that line is intact"

Progress = Callable[[int], None]
"""Told from time to time how many bytes of the file (as it lies on disk) are consumed."""


def log_size(path: str | Path) -> int | None:
    """Return the bytes on disk of a log, None where that is unknown (``-``, a pipe)."""
    if is_archive(path):
        return archive_bytes(str(path))
    place = Path(path)
    return place.stat().st_size if str(path) != STDIO and place.is_file() else None


def read_log(path: str | Path, *, on_bytes: Progress | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each line that is not blank.

    Parameters
    ----------
    path
        A ``.jsonl``, ``.jsonl.gz`` or ``.jsonl.zst`` file, or ``-`` for standard input; or an
        archive, by its folder or URL, whose events come in the order of
        :func:`stream.archive.reader.read_events`.
    on_bytes
        Called about every quarter of a megabyte, and at the end, with the
        bytes of the file consumed so far; compare with :func:`log_size`.

    Yields
    ------
    tuple[int, bytes]
        The line's number, from 1, and its content without the line's end.

    Raises
    ------
    LogError
        There is no such file, or its compression is damaged or cut short; the
        message names the last line that could be read.
    FolderError
        An archive's filesystem cannot be reached or refuses.
    """
    if is_archive(path):
        yield from read_events(str(path), on_bytes)
        return
    for line, text in read_lines(path, on_bytes=on_bytes):
        if record := text.strip():
            yield line, record


def read_lines(
    path: str | Path, *, on_bytes: Progress | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of every line, blank or not, with its end.

    The same as :func:`read_log` for files in which white space carries meaning.
    """
    line = 0
    with _open(path) as raw:
        source = _Counted(raw)
        try:
            for line, record in _lines(path, _decompressed(source)):
                if on_bytes is not None and source.due():
                    on_bytes(source.consumed)
                yield line, record
        except EOFError as error:
            message = f"{path} is cut short: its compressed data ends after line {line}"
            raise LogError(message, _DAMAGED) from error
        except (gzip.BadGzipFile, zlib.error, ValueError) as error:
            raise LogError(f"{path} is damaged after line {line}: {error}", _DAMAGED) from error
        except OSError as error:
            raise LogError(f"{path} cannot be read after line {line}: {error}") from error
        if on_bytes is not None:
            on_bytes(source.consumed)


def _open(path: str | Path) -> IO[bytes]:
    if str(path) == STDIO:
        return io.FileIO(sys.stdin.fileno(), closefd=False)
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError as error:
        mend = "check the path; `rillet simulate -o events.jsonl.gz` writes a log to play with"
        raise LogError(f"there is no log {path}", mend) from error
    except IsADirectoryError as error:
        mend = "name a file in it, or `rillet import` the folder if it holds a data set"
        raise LogError(f"{path} is a folder, neither a log nor an archive", mend) from error
    except OSError as error:
        raise LogError(f"{path} cannot be opened: {error.strerror}") from error


def _lines(path: str | Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    line = 0
    while record := stream.readline(MAX_LINE):
        line += 1
        if len(record) == MAX_LINE:
            message = f"{path} has more than {MAX_LINE >> 20} MiB on line {line}"
            raise LogError(message, "an event log holds one JSON object a line (JSONL)")
        yield line, record


class _Counted(io.RawIOBase):
    """A raw file that counts what was read from it."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.consumed = 0
        self._told = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self.consumed += len(data)
        return len(data)

    def due(self) -> bool:
        """Whether enough was read since the last time to be worth telling."""
        if self.consumed - self._told < _CHUNK:
            return False
        self._told = self.consumed
        return True


def _decompressed(source: _Counted) -> IO[bytes]:
    buffered = io.BufferedReader(source, _CHUNK)
    magic = buffered.peek(4)[:4]
    if magic.startswith(_GZIP_MAGIC):
        unzipped = gzip.GzipFile(fileobj=buffered, mode="rb")
        return io.BufferedReader(cast(io.RawIOBase, unzipped), _CHUNK)
    if magic == _ZSTD_MAGIC:
        return io.BufferedReader(_ZstdFrames(buffered), _CHUNK)
    return buffered


class _ZstdFrames(io.RawIOBase):
    """Reads zstandard frames and, unlike the library's reader, notices a cut one."""

    def __init__(self, source: IO[bytes]) -> None:
        zstd = _zstandard()
        self._source = source
        self._new_frame = zstd.ZstdDecompressor().decompressobj
        self._failure = zstd.ZstdError
        self._frame: Any = None
        self._ahead, self._ready = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self._fill():
            pass
        part = self._ready[: len(buffer)]
        self._ready = self._ready[len(part) :]
        buffer[: len(part)] = part
        return len(part)

    def _fill(self) -> bool:
        """Decompress one more chunk; False at the clean end of the file."""
        data = self._ahead or self._source.read(_CHUNK)
        self._ahead = b""
        if not data:
            if self._frame is not None:
                raise EOFError("a zstandard frame is not complete")
            return False
        self._frame = self._frame or self._new_frame()
        try:
            self._ready = self._frame.decompress(data)
        except self._failure as error:
            raise ValueError(str(error)) from error
        if self._frame.eof:
            self._ahead, self._frame = self._frame.unused_data, None
        return True


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        message = "zstandard logs need the package `zstandard`"
        raise LogError(message, "`pip install zstandard`, or use .jsonl.gz") from error
    return zstandard


class LogWriter:
    """Writes a log that appears under its name only when it is whole.

    The ending chooses the compression: ``.gz``, ``.zst``, or none. The same
    records give the same bytes, today and tomorrow: no time of writing is
    stored. ``-`` writes to standard output.

    Parameters
    ----------
    path
        Where the log shall lie; missing folders are made.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "two.jsonl.gz")
    >>> with LogWriter(path) as log:
    ...     log.write(b'{"n":1}')
    ...     log.write(b'{"n":2}')
    >>> list(read_log(path))
    [(1, b'{"n":1}'), (2, b'{"n":2}')]
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.records = 0
        self._target = None if str(path) == STDIO else Path(path)
        self._layers: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        try:
            return self._open()
        except BaseException:  # an interrupt too: nobody else would remove the file
            self._discard()
            raise

    def _open(self) -> Self:
        if self._target is None:
            self._layers = [io.FileIO(sys.stdout.fileno(), "wb", closefd=False)]
        else:
            self._layers = [self._create(self._target)]
        ending = "" if self._target is None else self._target.suffix
        if ending == ".gz":
            # Neither the name nor the time goes into the header: same input, same bytes.
            self._push(gzip.GzipFile("", "wb", 6, self._layers[0], mtime=0))
        elif ending == ".zst":
            compressor = _zstandard().ZstdCompressor(level=6)
            self._push(compressor.stream_writer(self._layers[0], closefd=False))
        self._push(io.BufferedWriter(cast(io.RawIOBase, self._layers[-1]), _CHUNK))
        self._out = self._layers[-1]
        return self

    def _push(self, layer: Any) -> None:
        self._layers.append(layer)

    @property
    def _temporary(self) -> Path:
        target = cast(Path, self._target)
        return target.with_name(f".{target.name}.{os.getpid()}.part")

    def _create(self, target: Path) -> IO[bytes]:
        if target.is_dir():
            raise LogError(f"{target} is a folder", f"name a file: -o {target}/events.jsonl.gz")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            return open(self._temporary, "wb", buffering=0)
        except OSError as error:
            mend = "choose another place with -o"
            raise LogError(f"{target} cannot be written: {error.strerror}", mend) from error

    def write(self, record: bytes) -> None:
        """Append one record; its line end is added here.

        Raises
        ------
        LogError
            The disk is full or the pipe's reader has gone.
        """
        self._out.write(record)
        self._out.write(b"\n")
        self.records += 1

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            for layer in reversed(self._layers):
                layer.close()
        except OSError:
            self._discard()
            if kind is None:
                raise
        if self._target is None:
            return
        if kind is None:
            os.replace(self._temporary, self._target)
        else:
            self._discard()

    def _discard(self) -> None:
        if self._target is not None:
            self._temporary.unlink(missing_ok=True)
