"""A sequence model as what the registry keeps: arrays, a manifest, the names of its items."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from models.manifest import WEIGHTS, Manifest, Span, packages
from models.registry import Registry
from models.sequence import Batch, SequenceConfig, SequenceModel
from models.tuning import Tuned
from models.weights import parse_weights
from stream.errors import ModelError

__all__ = ["Parcel", "add_to", "read_from"]

ITEMS: Final = "items.json"
"""Names of the items by row of the model's own embeddings."""


def add_to(registry: Registry, tuned: Tuned, names: list[str], known: Manifest) -> str:
    """Write a model that was tuned as a new version; return its name.

    Parameters
    ----------
    registry
        Where to.
    tuned
        The model and how its training went.
    names
        Ids of its items, by row.
    known
        Manifest with what the caller knows: offsets, metrics, parent, encoder, seed.
    """
    model = tuned.model
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    span = Span(
        tuned.since_ms, tuned.until_ms, tuned.interactions, tuned.users, len(model.contents)
    )
    manifest = msgspec.structs.replace(
        known, kind="sequence", config=asdict(model.config), data=span, packages=packages()
    )
    return registry.add(arrays, manifest, {ITEMS: msgspec.json.encode(names)})


@dataclass(frozen=True, slots=True)
class Parcel:
    """A version as it was read, its items still by name."""

    model: SequenceModel
    names: list[str]
    manifest: Manifest

    def over(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> SequenceModel:
        """Return the model over a catalogue: its vectors (N, dim), rows of ``names`` (n,).

        Raises
        ------
        ModelError
            It is of vectors of another length.
        """
        if vectors.shape[1] != (dim := self.model.config.content_dim):
            raise ModelError(
                f"the model {self.manifest.version} reads vectors of {dim} numbers,"
                f" this process has some of {vectors.shape[1]}",
                "train anew, or set encoder.model to the one it was trained with",
            )
        return self.model.over(vectors, rows).eval()


def read_from(registry: Registry, version: str, encoder: str) -> Parcel:
    """Read a version.

    Parameters
    ----------
    registry, version
        Which.
    encoder
        Version of the encoder that this process' vectors are of.

    Raises
    ------
    ModelError
        There is no such version, it is damaged, of another kind, of another
        encoder, or its arrays do not fit its config.
    """
    files, manifest = registry.load_files(version)
    if manifest.encoder and manifest.encoder != encoder:
        raise ModelError(
            f"the model {version} reads vectors of {manifest.encoder}, this process has {encoder}",
            "train anew, or set encoder.model to the one it was trained with",
        )
    try:
        names: list[str] = msgspec.json.decode(files[ITEMS], type=list[str])
        config = msgspec.convert(manifest.config, SequenceConfig)
        arrays = parse_weights(files[WEIGHTS])
        model = SequenceModel(config, torch.zeros(len(names), config.content_dim))
        model.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in arrays.items()})
        _try_out(model)
    except (LookupError, ValueError, TypeError, ArithmeticError, RuntimeError) as error:
        raise ModelError(
            f"the model {version} cannot be used: {type(error).__name__}: {error}",
            "it is of another version of Rillet; train anew or promote another one",
        ) from error
    return Parcel(model, names, manifest)


def _try_out(model: SequenceModel) -> None:
    """Ask for one sequence: what a config only looks like must not fail in a process' hot path."""
    nothing = torch.zeros(1, 1)
    batch = Batch(nothing.long(), nothing, nothing, nothing.long() - 1, torch.zeros(0, 1))
    with torch.inference_mode():
        model.eval()(batch, torch.zeros(1, model.config.dim))
