"""Vectors that processes share: one file, found by what is in it, left clean whoever dies."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from features import arena as arenas
from features.arena import Arena
from features.card import AsOf, ItemCard
from features.catalogue import Catalogue
from features.content import SPARE, OwnContent, SharedContent

DIM = 12
F32 = NDArray[np.float32]


def drawn(n: int, seed: int = 0, dim: int = DIM) -> F32:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def halves(vectors: F32) -> F32:
    return vectors.astype(np.float16).astype(np.float32)


def files(folder: Path) -> list[str]:
    own = folder / f"rillet-{os.geteuid()}"
    return sorted(path.name for path in own.iterdir()) if own.exists() else []


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Any]:
    opened: list[Arena] = []

    def open_one(name: str = "shop", dim: int = DIM, after: int = -1) -> Arena:
        opened.append(Arena.join(tmp_path, name, dim, after))
        return opened[-1]

    yield open_one
    for one in opened:
        one.leave()


@pytest.mark.parametrize("dim", [1, 3, 12, 384])
def test_what_was_put_is_read_by_all_and_lies_there_once(join: Any, dim: int) -> None:
    one, other, vectors = join(dim=dim), join(dim=dim), drawn(500, dim=dim)
    twice = np.concatenate([vectors, vectors[::-1]])
    slots = one.put(twice)
    distinct = len(np.unique(vectors.astype(np.float16), axis=0))
    assert len(np.unique(slots)) == distinct
    assert one.used == other.used == distinct + 1
    again = other.put(vectors)
    assert np.array_equal(again, slots[:500])
    assert one.used == distinct + 1
    assert np.array_equal(other.rows[again], vectors.astype(np.float16))
    assert np.array_equal(one.rows[slots], twice.astype(np.float16))


def test_zeros_have_the_first_slot_and_nothing_needs_none(join: Any) -> None:
    one = join()
    vectors = drawn(3)
    vectors[1] = 0
    assert one.put(vectors).tolist() == [1, 0, 2]
    assert not one.rows[0].any()
    assert one.put(vectors[:0]).shape == (0,)


def test_a_file_grows_under_those_who_read_it(join: Any) -> None:
    one, other, vectors = join(), join(), drawn(40_000)
    first = one.rows
    early = one.put(vectors[:10])
    late = other.put(vectors)
    assert late[:10].tolist() == early.tolist()
    assert len(np.unique(late)) == len(vectors)
    assert np.array_equal(one.put(vectors), late)
    assert np.array_equal(one.rows[late], vectors.astype(np.float16))
    assert np.array_equal(first[early], vectors[:10].astype(np.float16))


def test_vectors_of_one_hash_are_told_apart(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arenas, "_mixed", lambda sums: sums * 0 + 7)
    one, vectors = join(), drawn(60)
    slots = one.put(np.concatenate([vectors, vectors]))
    assert slots[:60].tolist() == slots[60:].tolist()
    assert len(np.unique(slots)) == 60
    assert np.array_equal(one.rows[slots[:60]], vectors.astype(np.float16))


def test_two_who_write_at_once_agree(join: Any) -> None:
    vectors, found = drawn(30_000), {}
    orders = [np.random.default_rng(seed).permutation(len(vectors)) for seed in range(3)]

    def go(number: int) -> None:
        arena, order = join(), orders[number]
        slots = np.zeros(len(order), np.int32)
        for first in range(0, len(order), 500):
            part = order[first : first + 500]
            slots[part] = arena.put(vectors[part])
        found[number] = slots
        assert np.array_equal(arena.rows[slots], vectors.astype(np.float16))

    threads = [threading.Thread(target=go, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert join().used == len(vectors) + 1


def test_the_last_to_leave_removes_the_file(tmp_path: Path, join: Any) -> None:
    one, other = join(), join()
    slots, rows = one.put(drawn(5)), one.rows
    one.leave()
    assert files(tmp_path) == ["shop.0.vectors"]
    other.leave()
    assert files(tmp_path) == []
    assert np.array_equal(rows[slots], drawn(5).astype(np.float16))


def test_the_files_are_the_users_alone(tmp_path: Path, join: Any) -> None:
    join().put(drawn(5))
    own = tmp_path / f"rillet-{os.geteuid()}"
    assert own.stat().st_mode & 0o777 == 0o700
    assert (own / "shop.0.vectors").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, join: Any) -> None:
    own = tmp_path / f"rillet-{os.geteuid()}"
    own.mkdir()
    own.chmod(0o755)
    with pytest.raises(PermissionError, match="open to others"):
        join()
    own.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=f"{own.name}"):
        join()


DIES = """
import os, sys
from pathlib import Path
import numpy as np
from features.arena import Arena
arena = Arena.join(Path(sys.argv[1]), "shop", 12)
arena.put(np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32))
print("there", flush=True)
sys.stdin.read()
os._exit(1)
"""


def dying(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DIES, str(folder)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, **pipes)
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    return child


def test_another_process_shares_it_and_what_it_leaves_when_it_dies_is_removed(
    tmp_path: Path, join: Any
) -> None:
    with dying(tmp_path) as child:
        mine = join()
        assert mine.used == 3001
        assert mine.put(drawn(3000)).tolist() == list(range(1, 3001))
        mine.leave()
        assert files(tmp_path) == ["shop.0.vectors"]
        child.communicate()
    assert files(tmp_path) == ["shop.0.vectors"]
    assert join("other").used == 1
    assert files(tmp_path) == ["other.0.vectors"]


def test_what_nobody_uses_is_made_anew(tmp_path: Path, join: Any) -> None:
    with dying(tmp_path) as child:
        child.communicate()
    assert join().used == 1


def test_who_joins_finds_the_newest_file_that_is_used(tmp_path: Path, join: Any) -> None:
    one = join()
    two = join(after=one.generation)
    assert (two.generation, join().generation) == (1, 1)
    one.leave()
    assert files(tmp_path) == ["shop.1.vectors"]
    assert join(after=0).generation == 1


def test_a_file_of_another_layout_is_refused(tmp_path: Path, join: Any) -> None:
    held = join()
    with pytest.raises(OSError, match="another layout"):
        join(dim=DIM + 4)
    assert held.put(drawn(1)).tolist() == [1]


class Full:
    """A filesystem on which nothing more is to be had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, really = False, os.posix_fallocate

        def reserve(file: int, start: int, size: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            really(file, start, size)

        monkeypatch.setattr(os, "posix_fallocate", reserve)


def put(content: SharedContent | OwnContent, vectors: F32, start: int = 0) -> None:
    content.grow(start + len(vectors))
    content.put(np.arange(start, start + len(vectors)), vectors)


def test_where_there_is_no_room_each_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk, vectors = Full(monkeypatch), drawn(20_000)
    content, other = (SharedContent(tmp_path, "s", DIM, "v1") for _ in range(2))
    put(content, vectors[:500])
    put(other, vectors[:500])
    disk.full = True
    put(content, vectors[500:], 500)
    assert not content.shared
    assert "No space left" in caplog.text
    assert "items.vectors_dir" in caplog.text
    assert np.array_equal(content.rows[:], halves(vectors))
    put(content, vectors[:1], 20_000)
    assert np.array_equal(content.rows[[20_000, 3]], halves(vectors[[0, 3]]))
    assert other.shared
    assert np.array_equal(np.asarray(other.rows), halves(vectors[:500]))
    assert len(caplog.records) == 1
    alone = SharedContent(tmp_path, "t", DIM, "v1")
    put(alone, vectors)
    assert not alone.shared
    assert np.array_equal(alone.rows.copy(), halves(vectors))
    disk.full = False
    content.clear("v2")
    assert content.shared
    assert not np.asarray(content.rows).any()
    put(content, vectors)
    assert np.array_equal(content.rows[:20_000], halves(vectors))


def test_another_encoder_and_another_shop_have_files_of_their_own(tmp_path: Path) -> None:
    kept = [SharedContent(tmp_path, shop, DIM, "v1") for shop in ("s", "s", "t")]
    assert len(files(tmp_path)) == 2
    for content in kept:
        put(content, drawn(50))
    kept[0].clear("v2")
    assert len(files(tmp_path)) == 3
    assert not np.asarray(kept[0].rows).any()
    put(kept[0], drawn(50, seed=1))
    assert np.array_equal(kept[0].rows[:], halves(drawn(50, seed=1)))
    assert np.array_equal(kept[1].rows[:], halves(drawn(50)))
    kept[1].clear("v2")
    assert len(files(tmp_path)) == 2


def test_vectors_of_before_are_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, join: Any
) -> None:
    monkeypatch.setattr("features.content.SPARE", 100)
    assert SPARE > 100
    one, other = (SharedContent(tmp_path, "s", DIM, "v1") for _ in range(2))
    put(one, drawn(100))
    put(one, drawn(100, seed=1))
    put(other, drawn(100, seed=1))
    one.tidy(100)
    (before,) = files(tmp_path)
    put(one, drawn(100, seed=2))
    one.tidy(100)
    assert len(files(tmp_path)) == 2
    assert np.array_equal(one.rows[:], halves(drawn(100, seed=2)))
    assert np.array_equal(other.rows[:], halves(drawn(100, seed=1)))
    put(other, drawn(100, seed=2))
    other.tidy(100)
    (after,) = files(tmp_path)
    assert after != before
    assert np.array_equal(other.rows[:], halves(drawn(100, seed=2)))
    other.tidy(100)
    assert files(tmp_path) == [after]


def test_where_there_is_no_room_to_tidy_it_is_not_tried_at_once_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("features.content.SPARE", 100)
    disk, content = Full(monkeypatch), SharedContent(tmp_path, "s", DIM, "v1")
    for seed in range(4):
        put(content, drawn(100, seed))
    disk.full = True
    for _ in range(3):
        content.tidy(100)
    assert len(caplog.records) == 1
    assert content.shared
    assert np.array_equal(content.rows[:], halves(drawn(100, seed=3)))
    assert len(files(tmp_path)) == 1
    disk.full = False
    put(content, drawn(100, seed=4))
    content.tidy(100)  # not many more yet
    (before,) = files(tmp_path)
    put(content, drawn(100, seed=5))
    content.tidy(100)
    assert files(tmp_path) != [before]
    assert np.array_equal(content.rows[:], halves(drawn(100, seed=5)))


def test_a_catalogue_over_shared_vectors_is_like_one_of_its_own(tmp_path: Path) -> None:
    cards = [ItemCard(AsOf(0, 0, 0), f"i{row}") for row in range(300)]
    unit = drawn(300) / np.linalg.norm(drawn(300), axis=1, keepdims=True)
    unit[7] = 0
    shared = Catalogue(DIM, encoder="v1", content=SharedContent(tmp_path, "s", DIM, "v1"))
    own = Catalogue(DIM, encoder="v1")
    for catalogue in (shared, own):
        catalogue.ensure("early")
        catalogue.apply(cards, unit)
        catalogue.put_vectors(["i3", "i7"], unit[:2])
        catalogue.tidy()
    assert shared.vectors.shape == own.vectors.shape == (301, DIM)
    assert len(shared.vectors) == 301
    expected = halves(np.asarray(own.vectors))
    for rows in ([5], [[1, 2], [3, 4]], slice(None, None, 7), shared.has_vector):
        assert np.array_equal(shared.vectors[rows], expected[rows])
    assert shared.vectors[4].tolist() == expected[4].tolist()
    assert shared.vectors[[0, 1]].dtype == np.float32
    assert shared.described == own.described == 300
    shared.exchange(["i1"], unit[:1], "v2")
    assert np.flatnonzero(shared.has_vector).tolist() == [2]
    assert np.array_equal(shared.vectors[2], halves(unit[0]))
    assert not shared.vectors[3].any()
