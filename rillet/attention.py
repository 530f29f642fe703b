"""At which of a user's interactions the Transformer that is served looks."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from consumers.encoders import promoted_encoder
from features.catalogue import Catalogue
from features.contexts import ask, build_contexts, meaning_of
from features.reader import StoreReader
from features.session import Session
from features.vectors import query_vectors
from models.registry import Registry
from stream.errors import NothingYetError
from stream.settings import Settings
from stream.store import Store

__all__ = ["Look", "Looks", "looks_of"]


class Look(Struct, frozen=True):
    """An interaction that the network reads.

    Attributes
    ----------
    item, title
        What was taken; "" where the item has no title.
    weights
        How much each head of each block looks at it, block by block, (layers, heads).
    """

    item: str
    title: str
    weights: list[list[float]]


class Looks(Struct, frozen=True):
    """What a user's last interaction looks at.

    Attributes
    ----------
    model
        The version that was asked.
    looks
        The interactions that it reads, oldest first; [] for who took nothing. Each head's
        weights add up to 1 over them.
    """

    model: str
    looks: list[Look]

    def array(self) -> NDArray[np.float32]:
        """Return the weights, (layers, heads, interactions)."""
        found = np.array([one.weights for one in self.looks], dtype=np.float32)
        return np.moveaxis(found, 0, -1) if self.looks else np.zeros((0, 0, 0), np.float32)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def looks_of(settings: Settings, store: Store, session: Session) -> Looks:
    """Ask the current Transformer, at the moment that the user's list is of.

    Parameters
    ----------
    settings
        All settings.
    store
        Where cards and vectors lie.
    session
        The user's state.

    Raises
    ------
    NothingYetError
        No Transformer was promoted yet.
    ModelError, FolderError
        The current one cannot be read, or is of another text encoder.
    """
    registry = Registry(settings.training.registry)
    if (pointer := registry.current("sequence")) is None:
        raise NothingYetError(
            f"no Transformer was promoted in {registry.url} yet",
            "`rillet train` makes one; `rillet models list` shows what there is",
        )
    from models.loaded import Loaded  # torch is half a gigabyte
    from models.packing import read_from

    version, encoder = pointer.current.version, promoted_encoder(settings).encoder
    catalogue = Catalogue(encoder.dim, settings.items, encoder.version)
    reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
    catalogue.refresh(reader, list(dict.fromkeys(session.history.items)))
    question = ask(session, session.as_of.event_time, catalogue, meaning_of(settings))
    parcel = read_from(registry, version, encoder.version)
    rows = catalogue.rows_of(parcel.names)
    seen = (catalogue.version, len(catalogue))
    window = settings.transformer.window
    loaded = Loaded.of(parcel.over(catalogue.vectors.copy(), rows), version, seen, "fp32", window)
    queries = query_vectors(settings, store, encoder)
    items, weights = loaded.gaze(build_contexts([question]), 0, queries)
    ids = [catalogue.ids[row] for row in items]
    titles = {card.item: card.title for card in reader.fetch(list(dict.fromkeys(ids)))[0]}
    found = np.moveaxis(weights, -1, 0).tolist()
    return Looks(
        version,
        [Look(item, titles.get(item, ""), one) for item, one in zip(ids, found, strict=True)],
    )
