"""Items as numbers: what learners that generalise from item to item read of the catalogue.

Numeric fields are put on one scale, content vectors are reduced to their
principal components, list fields become weighted tokens. The scales come from
a sample of the known items and are set anew only when the catalogue has grown
by a quarter; :meth:`ItemSpace.refresh` then says how weights on the old scales
are best expressed on the new ones, so that nothing learned is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.catalogue import Catalogue
from features.columns import Column
from models.arrays import Arrays, pack_names, unpack_names
from models.described import Described

__all__ = ["Carry", "ItemSpace", "Maps"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

COMPONENTS: Final = 32
"""Principal components of the content vectors."""

MAX_FIELDS: Final = 16
"""Numeric fields that count: those that most items have."""

MAX_TOKENS: Final = 32
"""Tokens of an item that count: the first of its list fields."""

SAMPLE: Final = 4096
"""Known items from which the scales are taken."""

GROWTH: Final = 1.25
"""Growth of the number of known items after which the scales are set anew."""

SKEWED: Final = 20
"""A field without negatives whose maximum is so many medians is counted in logarithms."""

BOUND: Final = 3.0
"""Standard deviations beyond which a number says no more."""


@dataclass(frozen=True, slots=True)
class Maps:
    """The scales: Q numeric fields, C components of vectors of length dim.

    Attributes
    ----------
    known
        Known items when they were taken.
    fields
        Names of the numeric fields.
    log, mean, spread
        (Q,) whether a field counts in logarithms, its mean and standard deviation.
    basis, centre
        (dim, C) principal axes divided by the mean standard deviation of the
        components, and (C,) the mean vector in them.
    encoder
        Version of the text encoder that the vectors are of.
    described
        Known items that had a vector when they were taken.
    """

    known: int
    fields: tuple[str, ...]
    log: NDArray[np.bool_]
    mean: F64
    spread: F64
    basis: F32
    centre: F32
    encoder: str
    described: int


@dataclass(frozen=True, slots=True)
class Carry:
    """How weights on old scales are best expressed on new ones: ``w' = A w``.

    ``A`` is the least squares fit of the old columns, centred, by the new ones
    over a sample of the items.

    Attributes
    ----------
    phi, linear
        ``A`` for weights of :attr:`models.described.Described.phi` and of ``Described.linear``.
    """

    phi: F64
    linear: F64


class ItemSpace:
    """The items of a catalogue as numbers.

    Parameters
    ----------
    catalogue
        The items.

    Attributes
    ----------
    maps
        The present scales.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        none = np.zeros(0)
        self.maps = Maps(
            known=0,
            fields=(),
            log=none.astype(np.bool_),
            mean=none,
            spread=none,
            basis=np.zeros((catalogue.dim, min(COMPONENTS, catalogue.dim)), np.float32),
            centre=np.zeros(min(COMPONENTS, catalogue.dim), np.float32),
            encoder=catalogue.encoder,
            described=0,
        )
        self._words: dict[str, int] = {}
        self._word_of = Column(np.int64, fill=0)
        self._idf = Column(np.float32, fill=0)
        self._rarest = np.float32(np.log(2.0))
        self._looked_at = -1

    def refresh(self) -> Carry | None:
        """Set the scales anew where the catalogue has outgrown them; None where they stay.

        They are set anew as well where the vectors are of another encoder, be it that it was
        swapped or that a checkpoint is of before, and where there are twice as many: a process
        that begins with an encoder that has encoded little gets them by and by.
        """
        catalogue, maps = self._catalogue, self.maps
        if self._looked_at == catalogue.version:  # nothing has changed since
            return None
        self._looked_at = catalogue.version
        known = int(np.count_nonzero(catalogue.known))
        grown = known >= GROWTH * maps.known
        if known < 2 or not (grown or catalogue.encoder != maps.encoder or self._better_described):
            return None
        sample = self._sample()
        old = self.describe(sample)
        self.maps = _fit(self._catalogue, sample, known)
        self._count_words()
        new = self.describe(sample)
        return Carry(_expressed(old.phi, new.phi), _expressed(old.linear, new.linear))

    @property
    def _better_described(self) -> bool:
        return _described(self._catalogue) > max(1, 2 * self.maps.described)

    def state(self) -> Arrays:
        """Return the scales."""
        maps = self.maps
        return {
            "known": np.array(maps.known),
            "fields": pack_names(maps.fields),
            "log": maps.log,
            "mean": maps.mean,
            "spread": maps.spread,
            "basis": maps.basis,
            "centre": maps.centre,
            "encoder": pack_names([maps.encoder]),
            "described": np.array(maps.described),
        }

    def restore(self, arrays: Arrays) -> None:
        """Continue on the scales of a checkpoint.

        Raises
        ------
        ValueError
            They are of content vectors of another length.
        """
        if arrays["basis"].shape != self.maps.basis.shape:
            raise ValueError("the scales are of content vectors of another length")
        encoder = arrays.get("encoder")  # a checkpoint of before it was kept is of who knows which
        self.maps = Maps(
            known=int(arrays["known"]),
            fields=tuple(unpack_names(arrays["fields"])),
            log=arrays["log"],
            mean=arrays["mean"],
            spread=arrays["spread"],
            basis=arrays["basis"],
            centre=arrays["centre"],
            encoder="" if encoder is None else unpack_names(encoder)[0],
            described=int(arrays.get("described", 0)),
        )
        self._looked_at = -1
        self._count_words()

    def _sample(self) -> I32:
        rows = np.flatnonzero(self._catalogue.known)
        step = max(1, -(-len(rows) // SAMPLE))
        return rows[::step].astype(np.int32)

    def describe(self, rows: I32) -> Described:
        """Return items as numbers."""
        catalogue, maps = self._catalogue, self.maps
        z, has = _standardised(catalogue, maps, rows)
        found = catalogue.has_vector[rows]
        p = (catalogue.vectors[rows] @ maps.basis - maps.centre) * found[:, None]
        at, token = self._tokens(rows)
        weight = self._idf.rows[self._word_of.rows[token]]
        length = np.sqrt(np.bincount(at, weight * weight, minlength=len(rows)))
        count = np.bincount(at, minlength=len(rows))
        return Described(
            rows=rows,
            phi=np.concatenate([z, np.where(has, z * z - 1, 0), p], axis=1),
            numbers=z.shape[1],
            at=at,
            token=token,
            value=self._word_of.rows[token],
            weight=(weight / np.maximum(length, 1e-9)[at]).astype(np.float32),
            root=np.sqrt(np.maximum(count, 1)),
        )

    def _tokens(self, rows: I32) -> tuple[I64, I32]:
        """Return the tokens that count of several items, flat: item and token."""
        self._learn_words()
        at, token = self._catalogue.tokens.gather(rows)
        counts = np.bincount(at, minlength=len(rows))
        within = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = within < MAX_TOKENS
        return at[kept], token[kept]

    def _learn_words(self) -> None:
        """Give new tokens the numbers of their words; fields that hold the same word share one."""
        names = self._catalogue.token_names
        done = len(self._word_of.rows)
        if done == len(names):
            return
        numbers = [self._words.setdefault(word, len(self._words)) for _, word in names[done:]]
        self._word_of.grow(len(names))
        self._word_of.rows[done:] = numbers
        known = len(self._idf.rows)
        self._idf.grow(len(self._words))
        self._idf.rows[known:] = self._rarest

    def _count_words(self) -> None:
        """Take each word's ``idf = log(1 + n / df)`` from the sample."""
        sample = self._sample()
        at, token = self._tokens(sample)
        value = self._word_of.rows[token]
        width = max(1, len(self._words))
        pairs = np.unique(at * width + value)
        frequency = np.bincount(pairs % width, minlength=len(self._words))
        self._idf.rows[:] = np.log1p(len(sample) / np.maximum(frequency, 1))
        self._rarest = np.float32(np.log1p(len(sample)))


def _expressed(old: F64, new: F64) -> F64:
    """Return the least squares fit of old columns by new ones, means aside."""
    fit: F64 = np.linalg.lstsq(new - new.mean(axis=0), old - old.mean(axis=0), rcond=1e-6)[0]
    return fit


def _standardised(catalogue: Catalogue, maps: Maps, rows: I32) -> tuple[F64, NDArray[np.bool_]]:
    """Return the numbers of items on their scale (n, Q), and which there are."""
    numbers = catalogue.numbers
    columns = [numbers[name][rows] for name in maps.fields if name in numbers]
    if not columns or len(columns) < len(maps.fields):
        empty = np.zeros((len(rows), len(maps.fields)))
        return empty, empty.astype(np.bool_)
    raw = np.stack(columns, axis=1).astype(np.float64)
    np.log1p(np.maximum(raw, 0), out=raw, where=maps.log)
    has = ~np.isnan(raw)
    z = np.minimum(np.maximum((raw - maps.mean) / maps.spread, -BOUND), BOUND)
    return np.where(has, z, 0), has


def _fit(catalogue: Catalogue, sample: I32, known: int) -> Maps:
    """Take the scales from a sample of the known items."""
    scales = []
    for name, column in catalogue.numbers.items():
        values = column[sample].astype(np.float64)
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        log = bool(values.min() >= 0 and values.max() > SKEWED * max(np.median(values), 1e-9))
        values = np.log1p(values) if log else values
        if (spread := values.std()) > 1e-9:
            scales.append((name, log, values.mean(), spread, len(values)))
    # a stable sort: of equally common fields the first to come stay
    scales = sorted(scales, key=lambda scale: -scale[4])[:MAX_FIELDS]
    vectors = catalogue.vectors[sample][catalogue.has_vector[sample]].astype(np.float64)
    basis, centre = _principal(vectors, catalogue.dim)
    return Maps(
        known=known,
        fields=tuple(scale[0] for scale in scales),
        log=np.array([scale[1] for scale in scales], dtype=np.bool_),
        mean=np.array([scale[2] for scale in scales]),
        spread=np.array([scale[3] for scale in scales]),
        basis=basis.astype(np.float32),
        centre=centre.astype(np.float32),
        encoder=catalogue.encoder,
        described=_described(catalogue),
    )


def _described(catalogue: Catalogue) -> int:
    return int(np.count_nonzero(catalogue.known & catalogue.has_vector))


def _principal(vectors: F64, dim: int) -> tuple[F64, F64]:
    """Return the axes of vectors over the components' mean deviation, and the mean in them."""
    width = min(COMPONENTS, dim)
    if len(vectors) < 2:
        return np.zeros((dim, width)), np.zeros(width)
    centre = vectors.mean(axis=0)
    centred = vectors - centre
    value, axes = np.linalg.eigh(centred.T @ centred / len(vectors))
    spread = np.sqrt(np.maximum(value[::-1][:width], 0)).mean()
    basis = axes[:, ::-1][:, :width] / max(spread, 1e-9)
    return basis, centre @ basis
