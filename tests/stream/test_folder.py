from __future__ import annotations

import os
import threading
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from stream.clock import HandClock
from stream.errors import FolderError
from stream.folder import Folder


@pytest.fixture(params=["path", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    urls = {
        "path": str(tmp_path / "a folder"),
        "file": f"file://{tmp_path}/there",
        "memory": f"memory://{uuid.uuid4().hex}",
    }
    return Folder(urls[request.param])


def test_what_was_written_is_read(folder: Folder) -> None:
    folder.write("a/b/one.txt", b"1")
    folder.write("two.txt", b"")
    assert folder.read("a/b/one.txt") == b"1"
    assert folder.size("two.txt") == 0
    assert folder.names() == ["a", "two.txt"]
    folder.write("two.txt", b"anew")
    assert folder.read("two.txt") == b"anew"
    assert Folder(folder.url).read("two.txt") == b"anew"


def test_what_is_not_there_is_nothing(folder: Folder) -> None:
    assert folder.names() == []
    assert folder.read("a/none") is None
    assert folder.size("none") is None
    folder.remove("none")
    folder.write("a/one", b"1")
    assert folder.size("a") is None  # a folder is no file


def test_a_folder_goes_with_all_in_it(folder: Folder) -> None:
    folder.write("a/one", b"1")
    folder.write("a/b/two", b"2")
    folder.write("c", b"3")
    folder.remove("a")
    folder.remove("c")
    assert folder.names() == []


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".", "a\\..\\b"])
def test_no_name_leads_out(folder: Folder, name: str) -> None:
    for action in (folder.read, folder.size, folder.remove):
        with pytest.raises(FolderError, match="is no name of a file"):
            action(name)
    with pytest.raises(FolderError):
        folder.write(name, b"")


def test_a_relative_path_is_told_as_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = Folder("models-registry")
    assert here.url == f"file://{tmp_path}/models-registry"
    assert Folder("file:models-registry").url == here.url


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(str(tmp_path))
    folder.write("one", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match="one cannot be written: No space left on device"):
        folder.write("one", b"new")
    assert folder.read("one") == b"old"
    assert os.listdir(tmp_path) == ["one"]


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    folder, seen, done = Folder(str(tmp_path)), set[bytes | None](), threading.Event()
    contents = [bytes([letter]) * 300_000 for letter in b"abc"]
    folder.write("one", contents[0])

    def read() -> None:
        while not done.is_set():
            seen.add(folder.read("one"))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        folder.write("one", contents[turn % 3])
    done.set()
    reader.join()
    assert seen <= set(contents)


def test_an_unknown_filesystem_is_a_clear_error() -> None:
    with pytest.raises(FolderError, match="nope://x cannot be opened: Protocol not known"):
        Folder("nope://x")


def test_a_filesystem_without_its_package_names_it() -> None:
    packages = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs", "dropbox": "dropboxdrivefs"}
    scheme, package = next(one for one in packages.items() if find_spec(one[1]) is None)
    with pytest.raises(FolderError, match=f"(?i)install.*{package}") as caught:
        Folder(f"{scheme}://bucket/models")
    assert "install the package" in caught.value.mend


def test_a_file_in_the_place_of_the_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with pytest.raises(FolderError, match="x/one cannot be written"):
        Folder(str(tmp_path / "x")).write("one", b"1")


def test_no_password_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec  # type: ignore[import-untyped]

    def refuse(url: str, **_: Any) -> None:
        raise PermissionError(f"no entry to {url}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(FolderError) as caught:
        Folder("ftp://me:secret@host/models")
    assert "secret" not in str(caught.value)
    assert "ftp://host/models" in str(caught.value)


def test_the_clock_may_be_given() -> None:
    assert Folder("memory://clock", HandClock(7)).clock.now_ms() == 7
    assert Folder("memory://clock").clock.now_ms() > 1_700_000_000_000
