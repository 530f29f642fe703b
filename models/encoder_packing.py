"""An adapter of the text encoder as what the registry keeps: arrays and a manifest."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from features.merging import Adapter, layers_of
from features.model_folder import Base
from models.arrays import Arrays
from models.manifest import WEIGHTS, Kind, Manifest, packages
from models.registry import Registry
from models.weights import parse_weights
from stream.errors import ModelError

__all__ = ["KIND", "add_adapter", "add_untouched", "read_adapter"]

KIND: Final[Kind] = "encoder"


class _Config(msgspec.Struct, frozen=True):
    """How an adapter is to be read.

    Attributes
    ----------
    rank, alpha
        As of :class:`features.merging.Adapter`; rank 0 for none at all.
    base
        Name and hash of the encoder that it was trained on.
    layers
        Which of its layers it has matrices for.
    """

    rank: int
    alpha: int
    base: str
    layers: list[str] = []


def add_adapter(
    registry: Registry, arrays: Arrays, base: Base, shape: tuple[int, int], known: Manifest
) -> str:
    """Write an adapter as a new version; return its name.

    Parameters
    ----------
    registry
        Where to.
    arrays
        The adapter's.
    base
        The encoder that it was trained on.
    shape
        Rank and alpha.
    known
        Manifest with what the caller knows: data, metrics, parent, seed.
    """
    config: dict[str, Any] = msgspec.to_builtins(_Config(*shape, base.name, layers_of(arrays)))
    manifest = msgspec.structs.replace(
        known, kind=KIND, config=config, encoder=base.name, packages=packages()
    )
    return registry.add(arrays, manifest)


def add_untouched(registry: Registry, base: Base) -> str:
    """Write a version that is the encoder as it is, to which a rollback can go."""
    return add_adapter(registry, {}, base, (0, 0), Manifest(KIND))


def read_adapter(registry: Registry, version: str, base: Base) -> tuple[Adapter, Manifest]:
    """Read a version.

    Parameters
    ----------
    registry, version
        Which.
    base
        The encoder that this process has.

    Raises
    ------
    ModelError
        There is no such version, it is damaged, of another kind, or of another
        encoder.
    """
    files, manifest = registry.load_files(version)
    if manifest.kind != KIND:
        raise ModelError(f"{version} is a {manifest.kind} model and no encoder")
    try:
        config = msgspec.convert(manifest.config, _Config)
        arrays = parse_weights(files[WEIGHTS])
        if sorted(config.layers) != layers_of(arrays) or bool(arrays) != bool(config.rank):
            raise ValueError("its arrays are not those that its config names")
    except (LookupError, ValueError) as error:
        raise ModelError(
            f"the encoder {version} cannot be used: {error}",
            "it is of another version of Rillet; tune anew or promote another one",
        ) from error
    if config.base != base.name:
        raise ModelError(
            f"the encoder {version} is an adapter of {config.base}, this process has {base.name}",
            "set encoder.model to the one that it was trained on, or tune anew:"
            " `rillet train-encoder --anew`",
        )
    return Adapter(version, arrays, config.rank, config.alpha), manifest
