"""A sequence model in the registry, and out of it again into another process' catalogue."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from models.examine import Exam
from models.manifest import WEIGHTS, Manifest
from models.packing import ITEMS, add_to, read_from
from models.registry import Registry
from models.sequence import Batch, SequenceModel
from models.training import train
from models.training_data import Material
from models.tuning import Tuned
from stream.errors import ModelError
from tests.models.planted import ITEMS as N
from tests.models.planted import contents, material, network, teaching

ENCODER = "tiny-1"
NAMES = [f"item-{row}" for row in range(N)]


def tuned(model: SequenceModel | None = None, known: Material | None = None) -> Tuned:
    model, known = model or network(), known or material()
    trained = train(model, known, teaching(epochs=2))
    exam = Exam(known, np.ones(len(known.data), np.bool_), np.ones(N, np.bool_))
    return Tuned(model, trained, exam, len(known.data), 48, 5, int(known.data.time.max()))


@pytest.fixture(scope="module")
def one() -> Tuned:
    return tuned()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(str(tmp_path / "models"))


def a_version(registry: Registry, model: SequenceModel, **changed: Any) -> str:
    """Add a model as `add_to` does, but for what a test changes of it."""
    manifest: dict[str, Any] = {"config": asdict(model.config), "encoder": ENCODER}
    files = {ITEMS: msgspec.json.encode(NAMES)} | changed.pop("files", {})
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    arrays = {name: a for name, a in (arrays | changed.pop("arrays", {})).items() if a is not None}
    manifest["config"] |= changed.pop("config", {})
    kept = {name: content for name, content in files.items() if content is not None}
    return registry.add(arrays, Manifest("sequence", **manifest | changed), kept)


def asked(items: list[list[int]]) -> Batch:
    """Return sequences of one length, a minute between two interactions."""
    rows = torch.tensor(items)
    like = torch.ones(rows.shape)
    return Batch(rows, like, 60 * like, torch.full_like(rows, -1), torch.zeros(0, 6))


def odds(model: SequenceModel, items: list[list[int]]) -> Tensor:
    with torch.inference_mode():
        table = model.items()
        return torch.as_tensor(model(asked(items), table)[:, -1] @ table.T)


def test_it_says_the_same_over_a_catalogue_with_other_rows(registry: Registry, one: Tuned) -> None:
    version = add_to(registry, one, NAMES, Manifest("sequence", encoder=ENCODER))
    parcel = read_from(registry, version, ENCODER)
    rows = np.random.default_rng(1).permutation(N + 5)[:N]
    vectors = contents(N + 5, seed=9).numpy()
    vectors[rows] = contents().numpy()
    there = parcel.over(vectors, rows)
    before, after = odds(one.model, [[1, 2, 3]]), odds(there, [rows[[1, 2, 3]].tolist()])
    torch.testing.assert_close(after[:, rows], before)
    assert after.shape == (1, N + 5)
    assert not there.training


def test_the_manifest_says_how_it_was_made(registry: Registry, one: Tuned) -> None:
    known = Manifest("sequence", encoder=ENCODER, seed=4, parent="p", metrics={"candidate": {}})
    parcel = read_from(registry, add_to(registry, one, NAMES, known), ENCODER)
    manifest, data = parcel.manifest, parcel.manifest.data
    assert (manifest.seed, manifest.parent, manifest.encoder) == (4, "p", ENCODER)
    assert manifest.config == asdict(one.model.config) | {"tasks": ["next"]}
    assert (data.first_ms, data.last_ms) == (one.since_ms, one.until_ms)
    assert (data.events, data.users, data.items) == (one.interactions, one.users, N)
    assert parcel.names == NAMES
    assert "torch" in manifest.packages


@pytest.mark.parametrize(
    "config", [{"ids": False}, {"block": "sasrec", "tasks": ("next", "value")}, {"content": False}]
)
def test_every_shape_comes_back(registry: Registry, config: dict[str, Any]) -> None:
    model = network(**config).eval()
    parcel = read_from(registry, a_version(registry, model), ENCODER)
    assert parcel.model.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(parcel.model.state_dict()[name], tensor), name
    there = parcel.over(contents().numpy(), np.arange(N))
    assert torch.equal(odds(there, [[4, 5]]), odds(model, [[4, 5]]))


def refused(registry: Registry, version: str, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_from(registry, version, ENCODER)
    for word in (version, *words):
        assert word in str(caught.value)
    assert caught.value.mend


def test_a_model_of_another_encoder_is_refused(registry: Registry) -> None:
    refused(registry, a_version(registry, network(), encoder="other-2"), "other-2", ENCODER)


def test_vectors_of_another_length_are_refused(registry: Registry) -> None:
    parcel = read_from(registry, a_version(registry, network(), encoder=""), ENCODER)
    with pytest.raises(ModelError, match="vectors of 6 numbers"):
        parcel.over(np.zeros((N, 384), np.float32), np.arange(N))


@pytest.mark.parametrize("name", [WEIGHTS, ITEMS])
@pytest.mark.parametrize("damage", ["cut", "bent", "gone"])
def test_a_damaged_file_is_refused(
    registry: Registry, tmp_path: Path, name: str, damage: str
) -> None:
    version = a_version(registry, network())
    file = tmp_path / "models" / version / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-3] if damage == "cut" else content)
    refused(registry, version, "damaged", name)


def test_there_is_no_such_version(registry: Registry) -> None:
    refused(registry, "20261124T183000-ab12cd")


@pytest.mark.parametrize(
    "config",
    [
        {"dim": 32},
        {"layers": 3},
        {"block": "rnn"},
        {"heads": 0},
        {"heads": 3},
        {"heads": "two"},
        {"length": 7},
        {"content_dim": 7},
        {"tasks": ["next", "purchase"]},
        {"tasks": ["next", "laugh"]},
        {"dropout": -1.0},
        {"gaps": 9},
    ],
    ids=str,
)
def test_a_foreign_config_is_refused(registry: Registry, config: dict[str, Any]) -> None:
    refused(registry, a_version(registry, network(), config=config), "cannot be used")


def test_a_config_of_a_later_version_is_read(registry: Registry) -> None:
    version = a_version(registry, network(), config={"flavour": "umami"})
    assert read_from(registry, version, ENCODER).model.config == network().config


ARRAYS: dict[str, Any] = {
    "too many items": {"ids": np.zeros((N + 1, 16), np.float32)},
    "a missing one": {"kind.weight": None},
    "an unknown one": {"soul": np.ones(3, np.float32)},
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_do_not_fit_the_config_are_refused(registry: Registry, case: str) -> None:
    refused(registry, a_version(registry, network(), arrays=ARRAYS[case]), "cannot be used")


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1, 2]", b'["a"', b"\xff\xfe", b"[]"])
def test_without_the_names_of_its_items_it_is_refused(
    registry: Registry, content: bytes | None
) -> None:
    refused(registry, a_version(registry, network(), files={ITEMS: content}), "cannot be used")


def test_an_encoder_is_no_sequence_model(registry: Registry) -> None:
    version = registry.add({"w": np.ones(3)}, Manifest("encoder", encoder=ENCODER))
    refused(registry, version, "cannot be used")


def test_a_model_that_diverged_is_not_added(registry: Registry, one: Tuned) -> None:
    model = network()
    with torch.no_grad():
        model.norm.weight[3] = float("nan")
    bad = Tuned(model, one.trained, one.exam, 1, 1, 0, 1)
    with pytest.raises(ModelError, match=r"norm\.weight"):
        add_to(registry, bad, NAMES, Manifest("sequence"))
    assert registry.entries() == []
