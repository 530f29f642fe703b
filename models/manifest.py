"""What is written beside a trained model: how it was made, and what its files must be.

A manifest is JSON, sealed: it carries the SHA-256 of itself without the seal,
so that one that was edited is refused, and of every file.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal, get_args

import msgspec
import numpy as np
from msgspec import Struct

__all__ = [
    "KINDS",
    "MANIFEST",
    "WEIGHTS",
    "FileEntry",
    "Kind",
    "Manifest",
    "Span",
    "Status",
    "check_name",
    "describe",
    "is_version",
    "name_version",
    "packages",
    "seal",
    "stamp",
    "stamp_of",
    "unseal",
]

Kind = Literal["sequence", "encoder"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Status = Literal["candidate", "refused"]
"""What the gate said; which model is the current one, the pointer says."""

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "weights.safetensors"

_VERSION: Final = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_OURS: Final = (
    *("rillet", "numpy", "torch", "accelerate", "safetensors", "transformers"),
    *("peft", "river", "msgspec"),
)


class Span(Struct, frozen=True):
    """The events that a model was trained on; times in epoch milliseconds."""

    first_ms: int = 0
    last_ms: int = 0
    events: int = 0
    users: int = 0
    items: int = 0


class FileEntry(Struct, frozen=True):
    """What a file must be, byte for byte."""

    sha256: str
    bytes: int


class Manifest(Struct, frozen=True):
    """How a model was made.

    Attributes
    ----------
    kind
        What it is: ``sequence`` or ``encoder``.
    version, made_at, files, seal
        Set by the registry.
    config
        The network's, as plain values.
    data
        Which events it was trained on.
    offsets
        ``topic:partition`` -> the offset after the last event that had happened by
        ``data.last_ms`` and was archived when the run began to read; empty where it was
        trained on a log.
    metrics
        Figures by name, also nested; a number that is not finite becomes null.
    parent
        The version from which its training started; "" where from nothing.
    encoder
        The version of the text encoder whose vectors it reads.
    seed
        Of its training.
    packages
        Versions of the libraries: see :func:`packages`.
    status, notes
        What the gate said, and why.
    """

    kind: Kind
    version: str = ""
    made_at: int = 0
    config: dict[str, Any] = {}
    data: Span = Span()
    offsets: dict[str, int] = {}
    metrics: dict[str, Any] = {}
    parent: str = ""
    encoder: str = ""
    seed: int = 0
    packages: dict[str, str] = {}
    files: dict[str, FileEntry] = {}
    status: Status = "candidate"
    notes: list[str] = []
    seal: str = ""


def packages() -> dict[str, str]:
    """Return the installed versions of the libraries on which a training depends."""
    found = {}
    for name in _OURS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe(content: bytes) -> FileEntry:
    """Return what a file must be to be this one.

    Examples
    --------
    >>> describe(b"").sha256[:12]
    'e3b0c44298fc'
    """
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))


def is_version(text: str) -> bool:
    """Tell whether a text has the form of a version, and so is safe in a path.

    Examples
    --------
    >>> is_version("20261124T183000-ab12cd"), is_version("../20261124T183000-ab12cd")
    (True, False)
    """
    return _VERSION.fullmatch(text) is not None


def name_version(manifest: Manifest) -> str:
    """Return a version's name: when it was made (UTC), and six digits of its content's hash.

    Names sort by time. They need no chance: the same model made at the same
    moment gets the same name.

    Examples
    --------
    >>> name_version(Manifest("sequence", made_at=1_795_545_000_000))[:16]
    '20261124T183000-'
    """
    return f"{stamp(manifest.made_at)}-{_digest(_plain(manifest))[:6]}"


def stamp(time_ms: int) -> str:
    """Return how versions begin that were made at a moment, to the second.

    Examples
    --------
    >>> stamp(0)
    '19700101T000000'
    """
    return f"{dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC):%Y%m%dT%H%M%S}"


def stamp_of(version: str) -> str:
    """Return the :func:`stamp` in a version's name."""
    return version.partition("-")[0]


def check_name(name: str) -> None:
    """Refuse the name of a file that could lie outside its version's folder.

    Raises
    ------
    ValueError
        It is absolute, climbs up, begins with a dot, or is not plain ASCII.

    Examples
    --------
    >>> check_name("tokenizer/vocab.txt")
    >>> check_name("../current-sequence.json")
    Traceback (most recent call last):
    ...
    ValueError: '../current-sequence.json' is no name of a model's file
    """
    if name == MANIFEST or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{name!r} is no name of a model's file")


def seal(manifest: Manifest) -> bytes:
    """Return a manifest as JSON for people, with its seal in it."""
    plain = _plain(manifest)
    return msgspec.json.format(msgspec.json.encode(plain | {"seal": _digest(plain)})) + b"\n"


def unseal(raw: bytes) -> Manifest:
    """Read :func:`seal`; fields of later versions of Rillet are passed over.

    Raises
    ------
    ValueError
        It is no manifest, was changed after it was written, or names a file
        outside its folder.

    Examples
    --------
    >>> sealed = seal(Manifest("sequence", seed=3))
    >>> unseal(sealed).seed
    3
    >>> unseal(sealed.replace(b'"seed": 3', b'"seed": 4'))
    Traceback (most recent call last):
    ...
    ValueError: it was changed after it was written
    """
    try:
        plain = msgspec.json.decode(raw)
        manifest = msgspec.convert(plain, Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no manifest: {error}") from error
    if _digest(plain) != manifest.seal:
        raise ValueError("it was changed after it was written")
    for name in manifest.files:
        check_name(name)
    return manifest


def _plain(manifest: Manifest) -> dict[str, Any]:
    """Return the manifest as JSON gives it back, so that both sides hash alike."""
    raw = msgspec.json.encode(manifest, enc_hook=_number)
    plain: dict[str, Any] = msgspec.json.decode(raw)
    return plain


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no plain value")


def _digest(plain: Mapping[str, Any]) -> str:
    bare = {name: value for name, value in plain.items() if name != "seal"}
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()
