"""The registry on a real disk and in memory; what was touched is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from models import manifest as module
from models.arrays import Arrays
from models.manifest import MANIFEST, WEIGHTS, Manifest, Span, packages
from models.registry import UNFINISHED_MS, Pointer, Registry
from stream.clock import HandClock
from stream.errors import FolderError, ModelError
from stream.folder import Folder

START = 1_795_545_000_000  # 2026-11-24T18:30:00Z
ARRAYS: Arrays = {
    "items": np.arange(12, dtype=np.float32).reshape(3, 4),
    "half": np.array([0.5, 1.5], dtype=np.float16),
    "ids": np.array([7, -7]),
    "mask": np.array([True, False]),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 4), dtype=np.float32),
    "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


class Shop:
    """A registry whose clock moves by a second with every version."""

    def __init__(self, url: str) -> None:
        self.clock = HandClock(START)
        self.registry = Registry(Folder(url, self.clock))

    def add(self, seed: int = 0, kind: Any = "sequence", **more: Any) -> str:
        self.clock.advance_to(self.clock.now_ms() + 1000)
        return self.registry.add({"w": np.full(5, float(seed))}, Manifest(kind, seed=seed, **more))


@pytest.fixture(params=["disk", "memory"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    urls = {"disk": str(tmp_path / "models"), "memory": f"memory://{uuid.uuid4().hex}"}
    return Shop(urls[request.param])


@pytest.fixture
def local(tmp_path: Path) -> tuple[Shop, Path]:
    return Shop(str(tmp_path / "models")), tmp_path / "models"


def test_what_was_added_is_loaded(shop: Shop) -> None:
    manifest = Manifest(
        "sequence",
        config={"dim": 64, "block": "sasrec", "rates": [0.1, 0.25]},
        data=Span(START - 1000, START, 10, 3, 4),
        offsets={"rillet.events:0": 41},
        metrics={"all": {"ndcg@10": np.float32(0.5)}, "nothing": float("nan")},
        parent="20261123T183000-ab12cd",
        encoder="all-MiniLM-L6-v2",
        seed=3,
        packages=packages(),
    )
    version = shop.registry.add(ARRAYS, manifest)
    arrays, found = shop.registry.load(version)
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
    assert version.startswith("20261124T183000-")
    assert (found.version, found.made_at, found.status) == (version, START, "candidate")
    assert found.config == manifest.config
    assert found.data == manifest.data
    assert found.metrics == {"all": {"ndcg@10": 0.5}, "nothing": None}
    assert found.packages["numpy"] == np.__version__
    assert set(found.files) == {WEIGHTS}


def test_one_model_made_at_one_moment_is_one_version(shop: Shop) -> None:
    first, again, other = (
        shop.registry.add({"w": np.ones(2)}, Manifest("sequence", seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(shop.registry.entries()) == 2


def test_other_files_come_back_byte_for_byte(shop: Shop) -> None:
    files = {"tokenizer/vocab.txt": b"a\nb\n", "config.json": b"{}", "empty.bin": b""}
    version = shop.registry.add({"w": np.ones(2)}, Manifest("encoder"), files)
    found, manifest = shop.registry.load_files(version)
    assert {name: found[name] for name in files} == files
    assert set(manifest.files) == {*files, WEIGHTS}


@pytest.mark.parametrize(
    "name",
    [
        *("../escape", "/etc/passwd", "a/../../b", "", ".", "..", "a//b", ".hidden", "a\\b"),
        *(MANIFEST, WEIGHTS, "ü", "a\nb", "C:\\x"),
    ],
)
def test_a_file_has_no_name_that_leads_out(shop: Shop, name: str) -> None:
    with pytest.raises(ModelError):
        shop.registry.add({"w": np.ones(2)}, Manifest("sequence"), {name: b"x"})
    assert shop.registry.entries() == []


@pytest.mark.parametrize(
    "array",
    [
        *(np.array([np.nan]), np.array([np.inf], dtype=np.float32), np.array([None])),
        *(np.array(["text"]), np.array([1j])),
    ],
)
def test_what_are_no_weights_is_refused_before_anything_is_written(shop: Shop, array: Any) -> None:
    with pytest.raises(ModelError, match="w "):
        shop.registry.add({"w": array}, Manifest("sequence"))
    assert shop.registry.entries() == []


@pytest.mark.parametrize("version", ["", "..", "20261124T183000-ab12cd", "../x", "current", "/"])
def test_a_version_that_is_not_there_is_a_clear_error(shop: Shop, version: str) -> None:
    shop.add()
    for action in (shop.registry.load, shop.registry.promote, shop.registry.manifest):
        with pytest.raises(ModelError, match="has no model") as caught:
            action(version)
        assert "rillet models list" in caught.value.mend


Damage = Callable[[Path], None]


def flip(path: Path) -> None:
    content = bytearray((path / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (path / WEIGHTS).write_bytes(content)


def swap(path: Path) -> None:
    size = (path / WEIGHTS).stat().st_size
    (path / WEIGHTS).write_bytes(bytes(size))


def cut(path: Path) -> None:
    (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:-1])


def lose(path: Path) -> None:
    (path / WEIGHTS).unlink()


def folder_instead(path: Path) -> None:
    lose(path)
    (path / WEIGHTS).mkdir()


def edit(path: Path) -> None:
    text = (path / MANIFEST).read_text()
    assert '"seed": 1' in text
    (path / MANIFEST).write_text(text.replace('"seed": 1', '"seed": 2'))


def add_a_field(path: Path) -> None:
    plain = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(plain | {"more": 1}))


def own_hash(path: Path) -> None:
    """Change the weights, and write their new hash into the manifest."""
    flip(path)
    plain = json.loads((path / MANIFEST).read_text())
    plain["files"][WEIGHTS]["sha256"] = hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest()
    (path / MANIFEST).write_text(json.dumps(plain))


def tear(path: Path) -> None:
    (path / MANIFEST).write_bytes((path / MANIFEST).read_bytes()[:50])


def no_json(path: Path) -> None:
    (path / MANIFEST).write_bytes(b"\xff\x00")


def of_another(path: Path) -> None:
    other = next(one for one in path.parent.glob("2*") if one != path)
    shutil.copy(other / MANIFEST, path / MANIFEST)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "another SHA-256"),
        (swap, "another SHA-256"),
        (cut, "has 103 bytes instead of 104"),
        (lose, "weights.safetensors is missing"),
        (folder_instead, "weights.safetensors is missing"),
        (edit, "changed after it was written"),
        (add_a_field, "changed after it was written"),
        (own_hash, "changed after it was written"),
        (tear, "it is no manifest"),
        (no_json, "it is no manifest"),
        (of_another, "it is of 2026"),
    ],
)
def test_what_was_touched_is_refused(local: tuple[Shop, Path], damage: Damage, words: str) -> None:
    shop, folder = local
    good, bad = shop.add(0), shop.add(1)
    shop.registry.promote(good)
    damage(folder / bad)
    with pytest.raises(ModelError, match=words) as caught:
        shop.registry.load(bad)
    assert bad in str(caught.value)
    assert "promote another one" in caught.value.mend
    with pytest.raises(ModelError):
        shop.registry.promote(bad)
    pointer = shop.registry.current("sequence")
    assert pointer is not None
    assert pointer.current.version == good
    shop.registry.load(good)


def test_a_version_without_a_manifest_does_not_exist(local: tuple[Shop, Path]) -> None:
    shop, folder = local
    version = shop.add()
    (folder / version / MANIFEST).unlink()
    assert shop.registry.entries() == []
    with pytest.raises(ModelError, match="has no model"):
        shop.registry.load(version)


def test_a_job_that_dies_on_the_way_leaves_no_version(
    local: tuple[Shop, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, folder = local
    write = Folder.write

    def die(self: Folder, name: str, content: bytes) -> None:
        if name.endswith(MANIFEST):
            raise KeyboardInterrupt
        write(self, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", die)
        with pytest.raises(KeyboardInterrupt):
            shop.add()
    assert shop.registry.entries() == []
    assert len(list(folder.iterdir())) == 1
    assert shop.registry.prune(1) == []  # it may still be written
    shop.clock.advance_to(START + UNFINISHED_MS + 10_000)
    assert len(shop.registry.prune(1)) == 1
    assert list(folder.iterdir()) == []


def test_a_manifest_that_names_a_file_outside_is_refused(local: tuple[Shop, Path]) -> None:
    """Even one with a right seal, as somebody who means harm would write it."""
    shop, folder = local
    version = shop.add()
    (folder / "secret").write_bytes(b"x")
    entry = module.describe(b"x")
    plain = json.loads((folder / version / MANIFEST).read_text())
    plain["files"]["../secret"] = {"sha256": entry.sha256, "bytes": 1}
    plain["seal"] = module._digest(plain)
    (folder / version / MANIFEST).write_text(json.dumps(plain))
    with pytest.raises(ModelError, match=r"'\.\./secret' is no name"):
        shop.registry.load_files(version)


def test_a_manifest_of_a_later_rillet_is_read(local: tuple[Shop, Path]) -> None:
    shop, folder = local
    version = shop.add(1)
    plain = json.loads((folder / version / MANIFEST).read_text()) | {"invented": {"later": [1]}}
    plain["seal"] = module._digest(plain)
    (folder / version / MANIFEST).write_text(json.dumps(plain))
    assert shop.registry.load(version)[1].seed == 1


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b'{"a":1}', b"\xff" * 100])
def test_what_is_no_safetensors_file_is_refused_whatever_its_hash(
    shop: Shop, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("models.registry.weights_file", lambda _: content)
        version = shop.add()
    with pytest.raises(ModelError, match="not a safetensors file"):
        shop.registry.load(version)


def test_weights_that_are_not_finite_are_refused_when_loaded(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("models.registry.weights_file", lambda _: save({"w": np.array([np.nan])}))
        version = shop.add()
    with pytest.raises(ModelError, match="not finite"):
        shop.registry.load(version)


def test_promotions_and_rollbacks_are_remembered(shop: Shop) -> None:
    registry = shop.registry
    assert registry.current("sequence") is None
    a, b, c = (shop.add(seed) for seed in range(3))
    for version in (a, b, c):
        registry.promote(version, f"reason {version}")
    pointer = registry.current("sequence")
    assert pointer is not None
    assert (pointer.current.version, pointer.before) == (c, b)
    assert pointer.current.reason == f"reason {c}"
    assert registry.rollback("sequence", "c is bad").current.version == b
    pointer = registry.rollback("sequence")
    assert (pointer.current.version, pointer.before) == (a, "")
    assert [one.version for one in pointer.undone] == [c, b]
    with pytest.raises(ModelError, match="no sequence model to go back to"):
        registry.rollback("sequence")
    assert registry.current("sequence") == pointer


def test_promoting_the_current_one_changes_nothing(shop: Shop) -> None:
    a, b = shop.add(0), shop.add(1)
    shop.registry.promote(a)
    first = shop.registry.promote(b, "once")
    assert shop.registry.promote(b, "twice") == first
    assert shop.registry.rollback("sequence").current.version == a


def test_kinds_do_not_touch_each_other(shop: Shop) -> None:
    a, b = shop.add(0), shop.add(0, kind="encoder")
    shop.registry.promote(a)
    assert shop.registry.current("encoder") is None
    shop.registry.promote(b)
    assert [one.version for one in shop.registry.entries("encoder")] == [b]
    pointer = shop.registry.current("sequence")
    assert pointer is not None
    assert pointer.current.version == a
    wrong: Any = "other"
    with pytest.raises(ModelError, match="no models of kind 'other'"):
        shop.registry.current(wrong)


def test_a_rollback_to_what_is_damaged_changes_nothing(local: tuple[Shop, Path]) -> None:
    shop, folder = local
    a, b = shop.add(0), shop.add(1)
    shop.registry.promote(a)
    pointer = shop.registry.promote(b)
    flip(folder / a)
    with pytest.raises(ModelError, match="SHA-256"):
        shop.registry.rollback("sequence")
    assert shop.registry.current("sequence") == pointer


@pytest.mark.parametrize("content", [b"", b"{", b'{"kind":"sequence","history":[]}', b"null"])
def test_a_torn_pointer_is_a_clear_error_and_a_promotion_mends_it(
    local: tuple[Shop, Path], content: bytes
) -> None:
    shop, folder = local
    shop.add(0)
    version = shop.add(1)
    (folder / "current-sequence.json").write_bytes(content)
    for action in (shop.registry.current, shop.registry.rollback):
        with pytest.raises(ModelError, match=r"current-sequence\.json cannot be read") as caught:
            action("sequence")
        assert "rillet models promote" in caught.value.mend
    with pytest.raises(ModelError):
        shop.registry.prune(1)
    assert shop.registry.promote(version).current.version == version


def test_of_many_promotions_at_once_one_wins_and_no_file_is_torn(
    local: tuple[Shop, Path],
) -> None:
    shop, folder = local
    versions = [shop.add(seed) for seed in range(4)]
    shop.registry.promote(versions[0])
    problems: list[BaseException] = []
    start = threading.Barrier(len(versions) + 1)
    done = threading.Event()

    def promote(version: str) -> None:
        try:
            one = Registry(str(folder))
            start.wait()
            for _ in range(15):
                one.promote(version)
        except BaseException as error:
            problems.append(error)

    def watch() -> None:
        try:
            one = Registry(str(folder))
            start.wait()
            while not done.is_set():
                pointer = one.current("sequence")
                assert pointer is not None
                assert pointer.current.version in versions
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=promote, args=(version,)) for version in versions]
    watcher = threading.Thread(target=watch)
    for thread in (*threads, watcher):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert problems == []
    assert isinstance(shop.registry.current("sequence"), Pointer)
    assert not list(folder.rglob("*.tmp"))


def test_prune_leaves_the_newest_the_current_and_the_one_before(shop: Shop) -> None:
    versions = [shop.add(seed) for seed in range(6)]
    encoder = shop.add(9, kind="encoder")
    shop.registry.promote(versions[1])
    shop.registry.promote(versions[0])
    assert shop.registry.prune(2) == versions[2:4]
    left = [one.version for one in shop.registry.entries()]
    assert left == [*versions[:2], *versions[4:], encoder]
    assert shop.registry.prune(2) == []
    assert shop.registry.rollback("sequence").current.version == versions[1]
    with pytest.raises(ValueError, match="at least one"):
        shop.registry.prune(0)


def test_a_damaged_manifest_is_listed_and_not_pruned(local: tuple[Shop, Path]) -> None:
    shop, folder = local
    versions = [shop.add(seed) for seed in range(3)]
    edit(folder / versions[1])
    found = {one.version: one for one in shop.registry.entries()}
    assert found[versions[1]].manifest is None
    assert "changed after it was written" in found[versions[1]].problem
    assert shop.registry.prune(1) == [versions[0]]


def test_what_the_gate_said_is_written_down(shop: Shop) -> None:
    version = shop.add(1)
    shop.registry.mark(version, "refused", ["cold users: worse"])
    arrays, manifest = shop.registry.load(version)
    assert (manifest.status, manifest.notes) == ("refused", ["cold users: worse"])
    assert manifest.version == version
    assert arrays["w"][0] == 1


def test_several_made_in_one_second_are_listed_in_order(shop: Shop) -> None:
    added = []
    for seed in range(8):
        shop.clock.advance_to(START + seed)
        added.append(shop.registry.add({"w": np.ones(1)}, Manifest("sequence", seed=seed)))
    assert [one.version for one in shop.registry.entries()] == added


def test_other_things_in_the_folder_do_not_disturb(local: tuple[Shop, Path]) -> None:
    shop, folder = local
    version = shop.add()
    (folder / "README.md").write_text("ours")
    (folder / ".DS_Store").write_bytes(b"")
    (folder / "20261124T183000-zzzzzz").mkdir()
    assert [one.version for one in shop.registry.entries()] == [version]


def test_a_folder_that_may_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file in its place")
    with pytest.raises(FolderError, match="cannot be written"):
        Registry(str(tmp_path / "models")).add({"w": np.ones(1)}, Manifest("sequence"))
