"""The promoted text encoder: read from the registry, or the settings' own where there is none."""

from __future__ import annotations

import contextlib
import logging
import re
from typing import Final, NamedTuple

from features.merging import load_adapted, tidy
from features.model_folder import find_base
from features.text import TextEncoder, load_encoder
from models.encoder_packing import KIND, read_adapter
from models.registry import Registry
from stream import metrics
from stream.errors import EncoderError, FolderError, ModelError
from stream.settings import Settings

__all__ = ["Promoted", "encoder_at", "promoted_encoder", "same_but_form"]

log = logging.getLogger(__name__)

_FORM: Final = re.compile(r"-(int8|fp32|torch)(-[a-z]+-\d+-r\d+)")
"""The form in an encoder's version, and what follows it; see :func:`features.text.load_encoder`."""


class Promoted(NamedTuple):
    """An encoder, and its version in the registry: "" where it is the settings' own."""

    encoder: TextEncoder
    version: str


def encoder_at(settings: Settings, version: str) -> TextEncoder:
    """Load a version from the registry: verified, merged, exported where that is due.

    Copies of versions of before are removed from this machine, see :func:`tidy`; those of the
    current one and of the one to which a rollback goes stay.

    Raises
    ------
    ModelError
        It is damaged, or of another encoder than the settings'.
    FolderError, EncoderError
        The registry or the cache cannot be used.
    """
    base = find_base(settings.encoder)
    registry = Registry(settings.training.registry)
    adapter, _ = read_adapter(registry, version, base)
    encoder = load_adapted(settings.encoder, base, adapter)
    with contextlib.suppress(ModelError, FolderError):  # then nothing is known to be unneeded
        pointer = registry.current(KIND)
        kept = () if pointer is None else (pointer.current.version, pointer.before)
        tidy(settings.encoder.cache_folder, base, {version, *kept})
    return encoder


def promoted_encoder(settings: Settings) -> Promoted:
    """Load the encoder that the registry points at; where that fails, the settings' own.

    Raises
    ------
    EncoderError
        That one cannot be loaded either.
    """
    try:
        pointer = Registry(settings.training.registry).current(KIND)
        if pointer is not None:
            version = pointer.current.version
            return Promoted(encoder_at(settings, version), version)
    except (ModelError, FolderError, EncoderError) as error:
        metrics.count("models.refused")
        log.error("the text encoder is the settings' own, the promoted one fails: %s", error)
    return Promoted(load_encoder(settings.encoder), "")


def same_but_form(one: str, other: str) -> bool:
    """Tell whether two versions name one encoder, but for the form that it is run in.

    Examples
    --------
    >>> same_but_form("bert-1a2b-int8-mean-256-r1", "bert-1a2b-torch-mean-256-r1")
    True
    >>> same_but_form("bert-1a2b-int8-mean-256-r1", "bert-3c4d-int8-mean-256-r1")
    False
    """
    return _FORM.sub(r"\2", one) == _FORM.sub(r"\2", other)
