"""A sequence model as a process serves it: over its catalogue, with its items' vectors at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from features.contexts import Contexts
from models.endings import outputs
from models.gaze import gaze
from models.near import NearIndex
from models.nearby import FOUND, LARGE
from models.precision import Serve, serving_dtype
from models.sequence import SequenceModel
from models.sources.base import QueryVectors
from models.windows import Windows

__all__ = ["Loaded"]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

ROWS: Final = 64
"""Histories computed at once: of more, what is between two layers leaves the processor's caches."""


GROWTH: Final = 8
"""By one part in so many there is more room than items, once some have come."""


@dataclass(slots=True)
class Loaded:
    """A model that is served.

    Attributes
    ----------
    model
        Over this process' catalogue, as it was when the model was loaded.
    version
        Its name in the registry.
    seen
        Version and size that the catalogue had then.
    table
        (N, dim) vectors of its items, as the model sees them.
    dtype
        What its layers compute in: see :func:`models.precision.serving_dtype`.
    index
        Finds items; None where there are few.
    window
        Interactions that it reads, if it was trained to read more: it then begins where
        :meth:`models.windows.Windows.of` says. 0: all.
    room
        Memory of which the table is the beginning, shared with what :meth:`over` returns.
    """

    model: SequenceModel
    version: str
    seen: tuple[int, int]
    table: torch.Tensor
    dtype: torch.dtype
    index: NearIndex | None
    window: int = 0
    room: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        model: SequenceModel,
        version: str,
        seen: tuple[int, int],
        serve: Serve = "fp32",
        window: int = 0,
    ) -> Self:
        """Encode the items of a model over a catalogue: :meth:`Transformer.place` says which.

        The model is owned from here on, and drops its items' content vectors.
        """
        with torch.inference_mode():
            table = model.eval().items()
        model.forget_contents()
        index = NearIndex(table.numpy(), trained=True) if len(table) >= LARGE else None
        dtype = serving_dtype(serve)
        return cls(model, version, seen, table, dtype, index, window)

    def over(self, rows: I64, vectors: F32, seen: tuple[int, int]) -> Self:
        """Return it over the catalogue as it is now; this one is not to be asked any more.

        Where there is room for all items the table is written to in place: to copy it for the
        sake of one item would cost a large catalogue more than all else.

        Parameters
        ----------
        rows, vectors
            (n,) items that have changed or come since, and (n, content_dim) their content
            vectors.
        seen
            Version and size that the catalogue has now.
        """
        with torch.inference_mode():
            room = self._room_for(seen[1])
            table, changed = room[: seen[1]], torch.from_numpy(rows)
            table[changed] = self.model.items_at(changed, torch.from_numpy(vectors))
        index = self.index
        if len(table) >= LARGE and (index is None or index.outgrown(len(table))):
            index = NearIndex(table.numpy(), trained=True)
        elif index is not None:
            index.update(table.numpy(), rows)
        return replace(self, seen=seen, table=table, index=index, room=room)

    def _room_for(self, size: int) -> torch.Tensor:
        """Return memory that begins with the table, of so many rows or more."""
        room = self.table if self.room is None else self.room
        if size <= len(room):
            return room
        wider = torch.zeros(max(size, len(room) + len(room) // GROWTH), room.shape[1])
        wider[: len(self.table)] = self.table
        return wider

    @property
    def items(self) -> F32:
        """(N, dim) vectors of the items."""
        return np.asarray(self.table.numpy(), dtype=np.float32)

    def near(self, users: F32) -> NDArray[np.int32] | None:
        """Return the items of the largest odds, (K, FOUND); None where there are few items."""
        return None if self.index is None else self.index.find(users, FOUND)

    def users(self, contexts: Contexts, known: NDArray[np.integer], encoder: QueryVectors) -> F32:
        """Return what the K questions in the rows ``known`` expect: (K, dim).

        Histories of like length are computed together, those that begin alike but once.
        """
        halves = self.dtype == torch.bfloat16
        windows = self._windows(contexts, known)
        found = np.empty((len(known), self.table.shape[1]), dtype=np.float32)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=halves):
            asked = self._asked([contexts.queries[row] for row in known], encoder)
            for tokens in windows.parts(ROWS):
                mine = asked[torch.from_numpy(tokens.question)]
                said = outputs(self.model, self.table, tokens, mine)
                found[tokens.question] = said.float().numpy()  # halves would make odds equal
        return found

    def gaze(self, contexts: Contexts, row: int, encoder: QueryVectors) -> tuple[I64, F32]:
        """Return what the last interaction before a question looks at.

        Returns
        -------
        tuple
            (T,) item rows, oldest first, and the weights (layers, heads, T): see
            :func:`models.gaze.gaze`. Nothing where the user took nothing.
        """
        if not (contexts.weight[row] > 0).any():
            shape = (self.model.config.layers, self.model.config.heads, 0)
            return np.zeros(0, dtype=np.int64), np.zeros(shape, dtype=np.float32)
        (tokens,) = self._windows(contexts, np.array([row])).parts(1)
        with torch.inference_mode():
            asked = self._asked([contexts.queries[row]], encoder)
            return tokens.items, gaze(self.model, self.table, tokens, asked)

    def _windows(self, contexts: Contexts, known: NDArray[np.integer]) -> Windows:
        length = self.model.config.length
        shorter = 0 < self.window < length
        return Windows.of(contexts, known, self.window if shorter else length, steady=shorter)

    def _asked(self, texts: list[str], encoder: QueryVectors) -> torch.Tensor:
        """Return the queries as the model sees them, zero for none: (K, dim)."""
        wanted = {text: number for number, text in enumerate(filter(None, dict.fromkeys(texts)))}
        asked = torch.zeros(len(texts), self.table.shape[1])
        if wanted:
            rows = [row for row, text in enumerate(texts) if text]
            vectors = torch.from_numpy(encoder.vectors(list(wanted)))
            asked[rows] = self.model.ask(vectors)[[wanted[texts[row]] for row in rows]].float()
        return asked

    def odds(self, users: F32) -> F32:
        """Return the log-odds of all items: (K, N), the caller's own."""
        # torch's product of a few rows takes a third of the time of numpy's
        return np.asarray(functional.linear(torch.from_numpy(users), self.table).numpy())
