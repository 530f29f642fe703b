"""Interactions with a planted pattern, and networks small enough to learn it within a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.interactions import Interactions
from models.sequence import Batch, SequenceConfig, SequenceModel
from models.training import TrainConfig
from models.training_data import Material
from tests.builders import MINUTE, NOON

torch.set_num_threads(1)  # threads cost more than they bring where all is small

ITEMS = 12
CONTENT = 6
NO_QUERIES = np.zeros((0, CONTENT), np.float32)


def config(**more: Any) -> SequenceConfig:
    """Return a small shape that draws nothing."""
    usual: dict[str, Any] = {
        "dim": 16,
        "layers": 1,
        "length": 6,
        "dropout": 0.0,
        "id_dropout": 0.0,
        "content_dim": CONTENT,
        "gaps": 8,
    }
    return SequenceConfig(**usual | more)


def contents(n: int = ITEMS, seed: int = 0) -> Tensor:
    """Return unit rows (n, CONTENT)."""
    drawn = torch.randn(n, CONTENT, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def network(vectors: Tensor | None = None, seed: int = 0, **more: Any) -> SequenceModel:
    """Return a small network, drawn with a seed."""
    torch.manual_seed(seed)
    return SequenceModel(config(**more), contents() if vectors is None else vectors)


def teaching(**more: Any) -> TrainConfig:
    """Return how to train within a second."""
    usual: dict[str, Any] = {"epochs": 12, "batch": 16, "learning_rate": 0.02, "patience": 12}
    return TrainConfig(**usual | more)


def columns(
    sequences: Sequence[Sequence[int]],
    *,
    begin: int = NOON,
    times: Sequence[Sequence[int]] | None = None,
    **more: Any,
) -> Interactions:
    """Return clicks of some users, each a sequence of item rows, a minute apart.

    The users begin a second after each other, so that no two interactions are of one time.
    """
    user = np.repeat(np.arange(len(sequences)), [len(one) for one in sequences])
    item = np.concatenate([np.asarray(one, np.int64) for one in sequences])
    if times is None:
        times = [
            [begin + user * 1000 + k * MINUTE for k in range(len(one))]
            for user, one in enumerate(sequences)
        ]
    n = len(item)
    usual: dict[str, Any] = {
        "weight": np.ones(n, np.float32),
        "bought": np.zeros(n, np.bool_),
        "value": np.full(n, np.nan, np.float32),
        "query": np.full(n, -1, np.int32),
        "queries": [],
    }
    return Interactions(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=np.concatenate([np.asarray(one, np.int64) for one in times]),
        **usual | more,
    )


def walks(users: int = 48, length: int = 7, step: int = 1, seed: int = 0) -> list[list[int]]:
    """Return sequences in which item k is always followed by k + step, around the circle."""
    starts = np.random.default_rng(seed).integers(0, ITEMS, users)
    return [[int((start + step * k) % ITEMS) for k in range(length)] for start in starts]


def material(sequences: Sequence[Sequence[int]] | None = None, **more: Any) -> Material:
    """Return what a run learns from: by default the circle."""
    return Material(columns(walks() if sequences is None else sequences, **more), NO_QUERIES)


def expects(model: SequenceModel, history: Sequence[int]) -> list[float]:
    """Return each item's chance to be taken next by who took these a minute apart."""
    shape = (1, len(history))
    given = Batch(
        items=torch.tensor([history]),
        weight=torch.ones(shape),
        gap_s=torch.full(shape, 60.0),
        query=torch.full(shape, -1),
        queries=torch.zeros(0, 1),
    )
    with torch.no_grad():
        table = model.items()
        chances: list[float] = (model(given, table)[0, -1] @ table.T).softmax(0).tolist()
    return chances


def hits(model: SequenceModel, step: int = 1) -> float:
    """Return the mean chance of the item that the pattern says comes next."""
    return (
        sum(found[(k + step) % ITEMS] for k, found in enumerate(_after_each(model, step))) / ITEMS
    )


def leads(model: SequenceModel, step: int = 1) -> float:
    """Return how often that item has the highest chance."""
    best = [max(range(ITEMS), key=found.__getitem__) for found in _after_each(model, step)]
    return sum(item == (k + step) % ITEMS for k, item in enumerate(best)) / ITEMS


def _after_each(model: SequenceModel, step: int) -> list[list[float]]:
    return [expects(model, [(k - step) % ITEMS, k]) for k in range(ITEMS)]
