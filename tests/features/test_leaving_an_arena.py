"""How a file of shared vectors is left where things went otherwise than they should."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from features import arena as arenas
from features.arena import Arena
from features.content import SharedContent

DIM = 12
WAIT_S = 60


def drawn(n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.vectors"))


def test_a_folder_that_was_cleared_stops_nobody(tmp_path: Path) -> None:
    content, vectors = SharedContent(tmp_path, "shop", DIM, "one"), drawn(5)
    content.grow(5)
    content.put(np.arange(5), vectors)
    shutil.rmtree(tmp_path)
    assert np.array_equal(content.rows[:], vectors.astype(np.float16))
    content.clear("two")
    content.put(np.arange(5), vectors)
    assert content.shared
    assert np.array_equal(content.rows[:], vectors.astype(np.float16))
    assert len(files(tmp_path)) == 1


def test_who_leaves_a_file_that_was_removed_lets_its_successor_be(tmp_path: Path) -> None:
    one = Arena.join(tmp_path, "shop", DIM)
    for path in tmp_path.rglob("*.vectors"):
        path.unlink()
    other = Arena.join(tmp_path, "shop", DIM)
    one.leave()
    assert files(tmp_path) == ["shop.0.vectors"]
    third = Arena.join(tmp_path, "shop", DIM)
    third.put(drawn(3))
    assert other.used == 4
    third.leave()
    other.leave()
    assert files(tmp_path) == []


COLLECTED = """
import gc, sys
from pathlib import Path
import numpy as np
from features.arena import Arena

folder = Path(sys.argv[1])
one, other = Arena.join(folder, "one", 12), Arena.join(folder, "other", 12)
one.circle = one
del one
put = Arena._put
def collecting(self, words, marks):
    gc.collect()
    return put(self, words, marks)
Arena._put = collecting
print(other.put(np.ones((2, 12), np.float32)).tolist())
"""


def test_what_is_collected_under_the_lock_waits_for_nobody(tmp_path: Path) -> None:
    """In a process of its own: what waits for itself never ends."""
    run = [sys.executable, "-c", COLLECTED, str(tmp_path)]
    found = subprocess.run(run, capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert found.stdout.split() == ["[1,", "1]"]
    assert files(tmp_path) == ["one.0.vectors"]
    Arena.join(tmp_path, "third", DIM).leave()  # who comes next removes it
    assert files(tmp_path) == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_that_ends_leaves_its_parents_file_alone(tmp_path: Path) -> None:
    one, vectors = Arena.join(tmp_path, "shop", DIM), drawn(3)
    one.put(vectors)
    if (child := os.fork()) == 0:
        one.leave()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    other = Arena.join(tmp_path, "shop", DIM)
    assert other.used == 4
    assert files(tmp_path) == ["shop.0.vectors"]
    one.leave()
    other.leave()


def test_nobody_is_counted_as_locking_afterwards(tmp_path: Path) -> None:
    one = Arena.join(tmp_path, "shop", DIM)
    one.put(drawn(3))
    del one
    gc.collect()
    assert not arenas._LOCKING
    assert files(tmp_path) == []
