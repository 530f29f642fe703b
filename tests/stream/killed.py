"""A filesystem that dies at a chosen moment of its work, as a process under SIGKILL does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]

__all__ = ["Killed", "deaths", "mortal", "objects"]


class Killed(BaseException):
    """The process is dead; nothing it still does has an effect."""


class _Fate:
    """How many steps are left to live; None: for ever."""

    left: int | None = None

    @classmethod
    def step(cls) -> None:
        if cls.left is not None:
            if cls.left <= 0:
                raise Killed
            cls.left -= 1


class _File:
    """A file each of whose writes is a step."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: Any) -> Any:
        _Fate.step()
        return self._file.write(data)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Mortal(LocalFileSystem):  # type: ignore[misc]
    """A local disk; every change of it is a step."""

    protocol = "mortal"
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> Any:
        return LocalFileSystem._strip_protocol(path.removeprefix(f"{cls.protocol}://"))

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **more: Any) -> Any:
        if "w" not in mode:
            return super()._open(path, mode, block_size, **more)
        _Fate.step()
        return _File(super()._open(path, mode, block_size, **more))

    def mv(self, path1: str, path2: str, recursive: bool = True, **more: Any) -> None:
        _Fate.step()
        super().mv(path1, path2, recursive, **more)

    def rm(self, path: Any, recursive: bool = False, maxdepth: Any = None) -> None:
        _Fate.step()
        super().rm(path, recursive, maxdepth)

    def rm_file(self, path: str) -> None:
        _Fate.step()
        super().rm_file(path)


class Objects(Mortal):
    """The same without renaming, as object stores are; and a file half written can be seen."""

    protocol = "objects"
    mv = AbstractFileSystem.mv

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **more: Any) -> Any:
        if "w" in mode:
            self.makedirs(self._parent(path), exist_ok=True)
        return super()._open(path, mode, block_size, **more)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        _Fate.step()  # in one go
        self.makedirs(self._parent(path), exist_ok=True)
        with LocalFileSystem._open(self, path, "wb") as file:
            file.write(value)


for kind in (Mortal, Objects):
    fsspec.register_implementation(kind.protocol, kind, clobber=True)


def mortal(path: object) -> str:
    """Return the URL of a folder on a disk that can die."""
    return f"mortal://{path}"


def objects(path: object) -> str:
    """Return the URL of a folder in an object store that can die."""
    return f"objects://{path}"


def deaths(limit: int = 400) -> Iterator[Callable[[Callable[[], object]], bool]]:
    """Yield, for each moment at which a process may die, what runs an action up to it.

    What is yielded returns whether the action died; the last one does not.
    """
    for steps in range(limit):
        survived = False

        def run(action: Callable[[], object], steps: int = steps) -> bool:
            nonlocal survived
            _Fate.left = steps
            try:
                action()
                survived = True
            except Killed:
                pass
            finally:
                _Fate.left = None
            return not survived

        yield run
        if survived:
            return
    raise AssertionError(f"it does not end within {limit} steps")
