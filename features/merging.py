"""An encoder with an adapter merged into it: a Hugging Face folder like any other.

``W + scale * B A`` for every layer that the adapter has, which is what ``peft``
computes layer by layer. Loads torch, inside its functions.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from features.model_folder import FILES, WEIGHTS, Base
from features.onnx_export import load_model
from features.text import Encoder, load_folder
from stream.errors import EncoderError, ModelError
from stream.settings import EncoderSettings

if TYPE_CHECKING:
    import torch

__all__ = ["Adapter", "layers_of", "load_adapted", "tidy", "write_merged"]

log = logging.getLogger(__name__)

SEAL: Final = "merged.json"
SINGLE: Final = "model.safetensors"
BESIDE: Final = ("modules.json", "*_bert_config.json", "config_*.json", "special_tokens_map.json")
"""Files that the vectors do not depend on, but other libraries want."""

COPY: Final = re.compile(r"(.+)-(?:merged|(?:int8|fp32)-r\d+)")
"""What a tuned encoder's folders in the cache are called, after the base: version and form."""

LEFT: Final = re.compile(r"(?:merge|export|gone)-\w+")
"""Folders that a process was writing, or removing, when it died."""

UNUSED_S: Final = 86_400.0
"""Seconds after which a copy counts as unused, if no process has loaded it since."""

A: Final = ".lora_A"
B: Final = ".lora_B"


class Adapter(Struct, frozen=True):
    """A trained adapter.

    Attributes
    ----------
    version
        Its name.
    arrays
        ``LAYER.lora_A`` (rank, in) and ``LAYER.lora_B`` (out, rank) of each layer; empty
        where it changes nothing.
    rank, alpha
        Their width; their product counts ``alpha / rank`` times.
    """

    version: str
    arrays: Mapping[str, NDArray[Any]]
    rank: int
    alpha: int


class _Seal(Struct, frozen=True):
    """What a merged folder was made of, and what its weights must be."""

    base: str
    adapter: str
    sha256: str


def layers_of(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the names of the layers that an adapter has.

    Raises
    ------
    ModelError
        An array has no counterpart, or the two do not fit.
    """
    layers = sorted({name.removesuffix(A).removesuffix(B) for name in arrays})
    for layer in layers:
        down, up = arrays.get(layer + A), arrays.get(layer + B)
        if down is None or up is None or down.ndim != 2 or up.shape[1:] != down.shape[:1]:  # noqa: PLR2004
            raise ModelError(f"the adapter's arrays of {layer} do not fit each other")
    return layers


def load_adapted(settings: EncoderSettings, base: Base, adapter: Adapter) -> Encoder:
    """Load an encoder with an adapter in it, merged and exported first where that is due.

    Its version follows from the base and the adapter's name, not from the merged
    numbers, whose last digits may differ from machine to machine.

    Raises
    ------
    ModelError
        The adapter does not fit the base.
    EncoderError
        The folder of the cache cannot be written, or the model cannot be run.
    """
    if not adapter.arrays:
        return load_folder(settings, base.folder, base.name)
    name = f"{base.name}-{adapter.version}"
    folder = settings.cache_folder / f"{name}-merged"
    _used(settings.cache_folder, name)
    _make(base, adapter, folder)
    try:
        return load_folder(settings, folder, name)
    except EncoderError:
        if folder.exists():
            raise
    _make(base, adapter, folder)  # another process, or a person, has just removed it
    return load_folder(settings, folder, name)


def _make(base: Base, adapter: Adapter, folder: Path) -> None:
    if _intact(folder):
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
        write_merged(base, adapter, folder)
    except OSError as error:
        raise EncoderError(f"{folder} cannot be written: {error}") from error


def _used(cache: Path, name: str) -> None:
    """Note that the copies of an encoder are in use, for :func:`tidy`."""
    for folder in cache.glob(f"{glob.escape(name)}-*"):
        with contextlib.suppress(OSError):  # of another user, or just removed
            os.utime(folder)


def tidy(cache: Path, base: Base, keep: Collection[str]) -> list[str]:
    """Remove the merged and exported copies of adapters that nobody has loaded for a day.

    A process that has loaded one needs its files no more, and one that is to load it makes
    it anew. What cannot be removed stays.

    Parameters
    ----------
    cache
        The folder of all copies.
    base
        The encoder whose adapters' copies are removed; its own stay.
    keep
        Names of adapters whose copies stay.

    Returns
    -------
    removed
        Names of the folders.
    """
    removed = []
    for folder in sorted(cache.glob("*")):
        rest = folder.name.removeprefix(f"{base.name}-")
        copy = COPY.fullmatch(rest) if rest != folder.name else None
        unneeded = copy[1] not in keep if copy else LEFT.fullmatch(folder.name) is not None
        with contextlib.suppress(OSError):
            if unneeded and time.time() - folder.stat().st_mtime > UNUSED_S:
                # moved first: nobody is to find half of it
                gone = Path(tempfile.mkdtemp(prefix="gone-", dir=cache))
                try:
                    os.replace(folder, gone)
                    removed.append(folder.name)
                finally:
                    shutil.rmtree(gone, ignore_errors=True)
    if removed:
        log.info("removed copies of encoders that are not used any more: %s", ", ".join(removed))
    return removed


def _intact(folder: Path) -> bool:
    try:
        seal = msgspec.json.decode((folder / SEAL).read_bytes(), type=_Seal)
        return _digest(folder / SINGLE) == seal.sha256
    except (OSError, msgspec.MsgspecError):
        return False


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_merged(base: Base, adapter: Adapter, folder: Path) -> None:
    """Write base and adapter as one model, whole or not at all.

    Parameters
    ----------
    base, adapter
        What to merge.
    folder
        To make. Two processes may do so at once: the first to finish wins.

    Raises
    ------
    ModelError
        The adapter does not fit the base.
    OSError
        The folder cannot be written, or is there already and not empty.
    """
    from safetensors.torch import save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="merge-", dir=folder.parent))
    try:
        _copy(base.folder, work)
        model = merge(load_model(base.folder), adapter)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, work / SINGLE, metadata={"format": "pt"})
        seal = _Seal(base.mark, adapter.version, _digest(work / SINGLE))
        (work / SEAL).write_bytes(msgspec.json.encode(seal))
        work.chmod(0o755)
        try:
            os.replace(work, folder)
        except OSError:
            if not _intact(folder):
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copy(origin: Path, work: Path) -> None:
    patterns = [one for one in (*FILES, *BESIDE) if one != WEIGHTS]
    for file in {file for pattern in patterns for file in origin.glob(pattern) if file.is_file()}:
        target = work / file.relative_to(origin)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)


def merge(model: Any, adapter: Adapter) -> torch.nn.Module:
    """Add an adapter to a model's weights, in place.

    Raises
    ------
    ModelError
        A layer is not there, or is of another size.
    """
    import torch

    known = dict(model.named_modules())
    for layer in layers_of(adapter.arrays):
        down, up = adapter.arrays[layer + A], adapter.arrays[layer + B]
        module = known.get(layer)
        weight = getattr(module, "weight", None)
        if weight is None or tuple(weight.shape) != (up.shape[0], down.shape[1]):
            raise ModelError(
                f"the adapter {adapter.version} does not fit: the encoder has no layer {layer}"
                f" of {up.shape[0]} x {down.shape[1]}",
                "set encoder.model to the one that it was trained on",
            )
        step = (adapter.alpha / adapter.rank) * (up.astype(np.float64) @ down.astype(np.float64))
        with torch.no_grad():
            weight += torch.from_numpy(step.astype(np.float32))
    return model  # type: ignore[no-any-return]
