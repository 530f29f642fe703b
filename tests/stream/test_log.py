"""Reading and writing event logs."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import LogError
from stream.log import LogWriter, log_size, read_lines, read_log

RECORDS = [b'{"n":%d}' % n for n in range(1000)]
ENDINGS = ("log.jsonl", "log.jsonl.gz", "log.jsonl.zst")


def written(path: Path, records: list[bytes]) -> Path:
    with LogWriter(path) as log:
        for record in records:
            log.write(record)
    return path


@pytest.mark.parametrize("name", ENDINGS)
def test_what_is_written_is_read_back_with_line_numbers(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "new" / name, RECORDS)
    assert list(read_log(path)) == list(enumerate(RECORDS, start=1))


@pytest.mark.parametrize("name", ENDINGS)
def test_the_same_records_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    first = written(tmp_path / "a" / name, RECORDS).read_bytes()
    assert written(tmp_path / "b" / name, RECORDS).read_bytes() == first


def test_the_name_does_not_matter_to_the_reader(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl.gz", RECORDS)
    renamed = path.rename(tmp_path / "log.txt")
    assert len(list(read_log(renamed))) == len(RECORDS)


def test_blank_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"a\n\n  \r\nb\r\nc")
    assert list(read_log(path)) == [(1, b"a"), (4, b"b"), (5, b"c")]
    assert list(read_lines(path))[:2] == [(1, b"a\n"), (2, b"\n")]


def test_several_gzip_and_zstandard_members_are_one_log(tmp_path: Path) -> None:
    for name, pack in (("a.gz", gzip.compress), ("a.zst", zstandard.ZstdCompressor().compress)):
        path = tmp_path / name
        path.write_bytes(pack(b"a\nb\n") + pack(b"c\n"))
        assert [record for _, record in read_log(path)] == [b"a", b"b", b"c"]


@pytest.mark.parametrize("name", ENDINGS[1:])
def test_a_cut_file_says_after_which_line(tmp_path: Path, name: str) -> None:
    noise = [b"%x" % hash((n, "noise")) for n in range(20_000)]
    path = written(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(LogError, match=r"is cut short: .* after line (\d+)") as caught:
        list(read_log(path))
    assert caught.value.mend


def test_a_cut_file_gives_what_came_before(tmp_path: Path) -> None:
    noise = [b"%x" % hash((n, "noise")) for n in range(50_000)]
    path = written(tmp_path / "log.jsonl.gz", noise)
    path.write_bytes(path.read_bytes()[:-5000])
    seen: list[bytes] = []
    with pytest.raises(LogError):
        for _, record in read_log(path):
            seen.append(record)
    assert len(seen) > 1000
    assert seen[:-1] == noise[: len(seen) - 1]  # the last one may be cut


def test_a_damaged_file_is_told_from_a_cut_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress(b"a\nb\n")[:-8] + b"12345678")
    with pytest.raises(LogError, match="is damaged after line"):
        list(read_log(path))


def test_what_is_no_file_is_refused_with_a_mend(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none", "there is no log"), (tmp_path, "is a folder")):
        with pytest.raises(LogError, match=words) as caught:
            list(read_log(path))
        assert caught.value.mend


def test_progress_ends_at_the_size_of_the_file(tmp_path: Path) -> None:
    noise = [b"%x" % hash((n, "noise")) for n in range(60_000)]
    path = written(tmp_path / "log.jsonl.gz", noise)
    told: list[int] = []
    list(read_log(path, on_bytes=told.append))
    assert told == sorted(told)
    assert len(told) > 1
    assert told[-1] == log_size(path)


def test_a_failure_leaves_the_old_log_and_no_rest(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl.gz", RECORDS)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), LogWriter(path) as log:
        log.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_log_is_not_there_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with LogWriter(path) as log:
        log.write(b"a")
        assert not path.exists()
    assert path.read_bytes() == b"a\n"


def test_a_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="is a folder"), LogWriter(tmp_path):
        pass


def test_standard_input_is_read_as_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "log.jsonl.gz", RECORDS)
    with open(path, "rb") as raw, io.TextIOWrapper(raw) as text:
        monkeypatch.setattr(sys, "stdin", text)
        assert len(list(read_log("-"))) == len(RECORDS)
    assert log_size("-") is None


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_log_error(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            lines = [line for line, _ in read_log(file.name)]
        except LogError:
            return
    assert lines == sorted(set(lines))
