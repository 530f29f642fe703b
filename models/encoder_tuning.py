"""One run of training of the text encoder: a LoRA adapter, tuned on a window of the stream.

Batches, devices and precision are Hugging Face Accelerate's. The same seed
and data give the same adapter on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.trunk import Trunk
from models.adapter import adapt, adapter_of, put_adapter
from models.arrays import Arrays
from models.encoder_loss import batch_of, contrast
from models.encoder_pairs import Pairs, pairs_of, shuffled
from models.interactions import Interactions
from models.schedule import rate_at
from models.sources.content import SHARPNESS
from models.training import Epoch, Watch, accelerator_of
from models.training_data import Material, split
from stream.encoder_settings import EncoderTuningSettings
from stream.errors import ModelError

__all__ = ["Lesson", "TunedEncoder", "tune"]

F32 = NDArray[np.float32]

LEAST: Final = 10
"""Pairs without which nothing is learned."""

TEMPERATURES: Final = (0.04, 0.06, 0.09, 0.13, 0.2, 0.3, 0.45, 0.7)
"""By which cosines may be divided; that is taken by which the encoder as it is foretells best."""

HELD_SHARE: Final = 4
"""Held-out pairs that are looked at after each pass: one for so many of a pass."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a run learns from.

    Attributes
    ----------
    data
        All interactions known, of the window and before.
    texts
        Text of each item by row, "" for none.
    vectors
        (N, dim) vectors of these texts by the encoder that is tuned on.
    since_ms
        Where the window begins.
    """

    data: Interactions
    texts: Sequence[str]
    vectors: F32
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class TunedEncoder:
    """What a run came to.

    Attributes
    ----------
    arrays
        The adapter.
    epochs
        All passes, and the mean loss of what was held out after each; of ``before`` before any.
    best
        Number of the pass that was kept, -1 where none was better than before.
    before
        Mean held-out loss before the first pass.
    held
        (E,) which interactions were held out.
    pairs
        Trained on in all.
    """

    arrays: dict[str, F32]
    epochs: list[Epoch]
    best: int
    before: float
    held: NDArray[np.bool_]
    pairs: int


def tune(
    trunk: Trunk,
    lesson: Lesson,
    settings: EncoderTuningSettings,
    start: Arrays | None = None,
    watch: Watch | None = None,
) -> TunedEncoder:
    """Tune an encoder; the trunk has the adapter in it afterwards.

    Parameters
    ----------
    trunk
        The encoder as it is without any adapter.
    lesson
        What from.
    settings
        How; rank and alpha are those of ``start`` where there is one.
    start
        The adapter to go on from; None begins with one that changes nothing.
    watch
        Told of the progress.

    Raises
    ------
    ModelError
        There is too little to learn from, or the training diverged.
    """
    return _Run(trunk, lesson, settings, start).go(watch)


class _Run:
    """One run's network, optimiser and pairs."""

    def __init__(
        self,
        trunk: Trunk,
        lesson: Lesson,
        settings: EncoderTuningSettings,
        start: Arrays | None,
    ) -> None:
        self._settings, self._lesson = settings, lesson
        material = Material(lesson.data, np.zeros((0, 1), np.float32), lesson.since_ms)
        self._fit, self._held = split(material, settings.holdout, settings.past, settings.seed)
        self._tokens = trunk.tokens(lesson.texts)
        self._asked = trunk.tokens(lesson.data.queries)
        silent = np.array([not ids for ids in self._asked] + [True])  # the last stands for none
        self._data = replace(
            lesson.data, query=np.where(silent[lesson.data.query], -1, lesson.data.query)
        )
        self._known = np.array([bool(ids) for ids in self._tokens])
        self._demand()
        torch.manual_seed(settings.seed)
        self._peft = adapt(
            trunk.model, rank=settings.rank, alpha=settings.alpha, dropout=settings.dropout
        )
        trunk.model = self._peft
        if start is not None:
            put_adapter(self._peft, start)
        learned = [p for p in self._peft.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            learned, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._accelerator = accelerator_of("no")
        if self._accelerator.num_processes > 1:
            raise ModelError(
                "the text encoder is tuned by one process", "start it without torchrun"
            )
        self._net, self._optimizer = self._accelerator.prepare(trunk, optimizer)
        self._before = torch.from_numpy(lesson.vectors)
        self._mean = self._before[torch.from_numpy(self._known)].mean(dim=0)
        counts = np.bincount(lesson.data.item[self._fit], minlength=len(lesson.texts)) + 1.0
        self._temperature = 1.0
        self._log_q = torch.from_numpy(np.log(counts / counts.sum()).astype(np.float32))

    def _demand(self) -> None:
        if not self._known.any():
            raise ModelError(
                "no item has a text",
                "give items fields that encoder.fields names, such as title or description",
            )
        found = sum(map(len, pairs_of(self._data, self._fit, self._known, self._length)))
        if found < LEAST:
            raise ModelError(
                f"{found} pairs of items with texts that followed each other are too few to learn",
                "publish more events, and items with texts",
            )

    @property
    def _length(self) -> int:
        return self._settings.length

    def go(self, watch: Watch | None) -> TunedEncoder:
        given, data = self._settings, self._data
        groups = pairs_of(data, self._held, self._known, self._length)
        rng = np.random.default_rng((given.seed, 0))
        held = shuffled(groups, given.batch, max(LEAST, given.max_pairs // HELD_SHARE), rng)
        self._temperature = self._fitting(held)
        before = lowest = self._measure(held)
        arrays, best = adapter_of(self._peft), -1
        epochs: list[Epoch] = []
        seen = 0
        for number in range(given.epochs):
            if number - 1 - max(best, 0) >= given.patience:
                break
            rng = np.random.default_rng((given.seed, 1 + number))
            torch.manual_seed(given.seed * 1_000_003 + number)
            windows = pairs_of(data, self._fit, self._known, self._length, rng)
            batches = shuffled(windows, given.batch, given.max_pairs, rng)
            loss = self._epoch(batches, number, watch)
            held_loss = self._measure(held) if held else loss
            pairs = sum(map(len, batches))
            epochs.append(Epoch(number, loss, held_loss, pairs))
            seen += pairs
            if not math.isfinite(loss) or not math.isfinite(held_loss):
                raise ModelError(
                    "the training diverged: a pass ended without a finite loss",
                    "lower encoder_tuning.learning_rate",
                )
            if held_loss < lowest:
                lowest, best, arrays = held_loss, number, adapter_of(self._peft)
        put_adapter(self._peft, arrays)
        return TunedEncoder(arrays, epochs, best, before, self._held, seen)

    def _fitting(self, held: list[Pairs]) -> float:
        """Return the temperature of the lowest loss by the vectors that are there already.

        Were the cosines divided by too little, training would first of all learn to
        make less of them, and too much would leave it nothing to tell apart.
        """
        if not held:
            return 1 / SHARPNESS
        losses = []
        for temperature in TEMPERATURES:
            total = 0.0
            for pairs in held:
                batch = batch_of(pairs)
                rows = torch.from_numpy(batch.items)
                by = (self._settings.popularity * self._log_q[rows], temperature)
                none = torch.zeros(0, self._before.shape[1])
                total += float(contrast(batch, self._before[rows], self._mean, none, by))
            losses.append(total)
        return TEMPERATURES[int(np.argmin(losses))]

    def _epoch(self, batches: list[Pairs], number: int, watch: Watch | None) -> float:
        given, accelerator = self._settings, self._accelerator
        total = weight = 0.0
        self._net.train()
        steps = len(batches)
        for step, pairs in enumerate(batches):
            rate = rate_at(number * steps + step, given.epochs * steps, given.warmup)
            for group in self._optimizer.param_groups:
                group["lr"] = given.learning_rate * rate
            share = float(pairs.share.sum())
            loss = self._loss(pairs)
            accelerator.backward(loss / share)
            accelerator.clip_grad_norm_(self._net.parameters(), 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad()
            total, weight = total + float(loss.detach()), weight + share
            if watch is not None:
                watch(step + 1, steps, float(loss.detach()) / share)
        return total / max(weight, 1e-9)

    @torch.no_grad()
    def _measure(self, held: list[Pairs]) -> float:
        """Return the mean loss of held-out pairs; infinite where there are none."""
        self._net.eval()
        total = sum(float(self._loss(pairs)) for pairs in held)
        weight = float(sum(pairs.share.sum() for pairs in held))
        return total / weight if weight else math.inf

    def _loss(self, pairs: Pairs) -> Tensor:
        """Return the summed loss of a batch's questions."""
        device = self._accelerator.device
        batch = batch_of(pairs)
        queries = [self._asked[number] for number in batch.queries]
        said = self._net([*(self._tokens[row] for row in batch.items), *queries])
        vectors, asked = said[: len(batch.items)], said[len(batch.items) :]
        rows = torch.from_numpy(batch.items)
        # The mean moves with the vectors: how far, the batch's own items say.
        mean = self._mean.to(device) + (vectors - self._before[rows].to(device)).mean(dim=0)
        popular = self._settings.popularity * self._log_q[rows].to(device)
        by = (popular, self._temperature)
        return contrast(batch.to(device), vectors, mean, asked, by)
