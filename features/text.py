"""The text encoder: what a text says, as a unit vector.

Importing this file loads neither torch nor transformers nor onnxruntime:
:func:`load_encoder` does, and torch only where no export is cached yet.

Which of three forms of a model is used, :func:`load_encoder` decides once per
machine and says in the log and in the encoder's version:

1. ONNX int8, where its cosine to fp32 is at least 0.99 on all of the check set;
2. ONNX fp32;
3. torch fp32, where the model cannot be exported.

int8 encodes one text at a time. ONNX Runtime scales activations over a whole
batch, so in a batch a text's vector would depend on its neighbours, and a
cached vector on who happened to be encoded beside it.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.model_folder import Shape, find_base, shape_of, tokenizer_of
from features.onnx_export import MANIFEST, Hidden, Manifest, export, onnx_model, torch_model
from stream.errors import EncoderError
from stream.settings import EncoderSettings

__all__ = [
    "CHARS_PER_TOKEN",
    "Encoder",
    "Progress",
    "TextEncoder",
    "load_encoder",
    "load_folder",
    "normalise",
    "text_hash",
]

log = logging.getLogger(__name__)

RECIPE: Final = 1
"""Raised when normalising, pooling or quantising changes; part of the version."""

BATCH: Final = 32
CHUNK: Final = 1024
"""Texts tokenised at a time."""

CHARS_PER_TOKEN: Final = 32
"""Text beyond ``max_tokens`` times this is not even tokenised."""

Progress = Callable[[int, int], None]
"""Called with how many are done and how many there are in all."""


def normalise(text: str) -> str:
    r"""Return the text in NFKC with single spaces: what is hashed and encoded.

    Examples
    --------
    >>> normalise("  Ｔｅａ\n  ｃｕｐ ")
    'Tea cup'
    """
    valid = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no character
    return " ".join(unicodedata.normalize("NFKC", valid).split())


def text_hash(text: str) -> str:
    """Return the SHA-256 (hex) of the normalised text; of a blank one, an empty string.

    Examples
    --------
    >>> text_hash("Tea  cup") == text_hash("Tea cup")
    True
    >>> text_hash(" ")
    ''
    """
    clean = normalise(text)
    return hashlib.sha256(clean.encode()).hexdigest() if clean else ""


class TextEncoder(Protocol):
    """Turns texts into unit vectors; the same version and text give the same vector."""

    @property
    def version(self) -> str:
        """What the vectors depend on besides the text; a part of cache keys."""
        ...

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        ...

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Return unit rows ``(n, dim)``; the row of a blank text is zero."""
        ...


class Encoder:
    """A :class:`TextEncoder` over a Hugging Face encoder; see :func:`load_encoder`."""

    def __init__(
        self, version: str, tokenizer: Any, hidden: Hidden, shape: Shape, *, batch: int = BATCH
    ) -> None:
        self._version = version
        self._tokenizer, self._hidden, self._shape, self._batch = tokenizer, hidden, shape, batch
        self._dim = int(self._pool([[shape.pad]]).shape[1])

    @property
    def version(self) -> str:
        """What the vectors depend on besides the text: model, weights, form, pooling, length."""
        return self._version

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._dim

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Return unit rows ``(n, dim)``; the row of a blank text is zero.

        Parameters
        ----------
        texts
            Any texts; beyond ``max_tokens`` they are cut.
        progress
            Called after each batch.

        Raises
        ------
        EncoderError
            The model failed on a text.
        """
        out = np.zeros((len(texts), self._dim), np.float32)
        done = 0
        for rows, tokens in self._batches(texts):
            try:
                pooled = self._pool(tokens)
            except Exception as error:  # whatever the runtime throws
                raise EncoderError(f"{self._version} failed on a text: {error}") from error
            out[rows] = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
            done += len(rows)
            if progress is not None:
                progress(done, len(texts))
        if progress is not None and done < len(texts):
            progress(len(texts), len(texts))
        return out

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Yield row numbers and their tokens, texts of like length together."""
        limit = self._shape.max_tokens * CHARS_PER_TOKEN
        for start in range(0, len(texts), CHUNK):
            clean = [normalise(text)[:limit] for text in texts[start : start + CHUNK]]
            full = [at for at, text in enumerate(clean) if text]
            coded = self._tokenizer.encode_batch([clean[at] for at in full])
            tokens = {at: code.ids for at, code in zip(full, coded, strict=True)}
            order = sorted(full, key=lambda at: len(tokens[at]))
            for first in range(0, len(order), self._batch):
                chosen = order[first : first + self._batch]
                yield [start + at for at in chosen], [tokens[at] for at in chosen]

    def _pool(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return one vector for each list of tokens ``(n, dim)``, not yet of unit length."""
        longest = max(len(ids) for ids in tokens)
        ids = np.full((len(tokens), longest), self._shape.pad, np.int64)
        mask = np.zeros_like(ids)
        for row, its in enumerate(tokens):
            ids[row, : len(its)], mask[row, : len(its)] = its, 1
        states = self._hidden(ids, mask)
        if self._shape.pooling == "cls":
            return states[:, 0]
        weights = mask[:, :, None].astype(np.float32)
        return np.asarray((states * weights).sum(axis=1) / weights.sum(axis=1), np.float32)


def load_encoder(settings: EncoderSettings) -> Encoder:
    """Load the encoder that the settings name, exporting it first where that is due.

    The export takes some ten seconds and is kept in ``settings.cache_folder``;
    with it, loading takes well under a second and imports no torch.

    Raises
    ------
    EncoderError
        There is no such model, it is not an encoder with safetensors weights,
        or it cannot be run.
    """
    base = find_base(settings)
    return load_folder(settings, base.folder, base.name)


def load_folder(settings: EncoderSettings, folder: Path, name: str) -> Encoder:
    """Load the encoder in a folder; see :func:`load_encoder`.

    Parameters
    ----------
    settings
        How: in which form, how long texts may be, where exports are kept.
    folder
        The Hugging Face model.
    name
        Which model it is, in the encoder's version and in the cache: another for other weights.

    Raises
    ------
    EncoderError
        It is not an encoder with safetensors weights, or cannot be run.
    """
    shape = shape_of(folder, settings)
    tokenizer = tokenizer_of(folder, shape)

    def embed(hidden: Hidden, texts: Sequence[str]) -> NDArray[np.float32]:
        return Encoder("check", tokenizer, hidden, shape, batch=1).encode(texts)

    kind, hidden = _model(settings, folder, name, embed)
    tail = f"{shape.pooling}-{shape.max_tokens}-r{RECIPE}"
    version = f"{name}-{kind}-{tail}"
    return Encoder(version, tokenizer, hidden, shape, batch=1 if kind == "int8" else BATCH)


def _model(settings: EncoderSettings, folder: Path, name: str, embed: Any) -> tuple[str, Hidden]:
    """Return the best form of the model, and which it is."""
    threads, form = settings.threads, "int8" if settings.int8 else "fp32"
    home = settings.cache_folder / f"{name}-{form}-r{RECIPE}"
    try:
        manifest = _manifest(home)
        if manifest is None:
            log.info("exporting the text encoder to %s, once", home)
            manifest = export(folder, home, embed, int8=settings.int8, threads=threads)
        hidden = onnx_model(home / "model.onnx", threads)
    except Exception as error:  # no onnx, an unknown operator, a full disk: torch still works
        log.warning("the text encoder runs in torch, slowly; its ONNX export failed: %s", error)
        shutil.rmtree(home, ignore_errors=True)  # a damaged export is made anew next time
        return "torch", _torch(folder, threads)
    _say(name, manifest)
    return manifest.kind, hidden


def _torch(folder: Path, threads: int) -> Hidden:
    try:
        return torch_model(folder, threads)
    except Exception as error:
        raise EncoderError(f"{folder} cannot be loaded: {error}") from error


def _say(name: str, manifest: Manifest) -> None:
    log.info(
        "text encoder %s: ONNX %s, worst cosine to fp32 %.4f%s",
        name,
        manifest.kind,
        manifest.worst_cosine,
        f" (int8 had {manifest.int8_cosine:.4f})"
        if manifest.kind == "fp32" and manifest.int8_cosine is not None
        else "",
    )


def _manifest(home: Path) -> Manifest | None:
    file = home / MANIFEST
    return msgspec.json.decode(file.read_bytes(), type=Manifest) if file.exists() else None
