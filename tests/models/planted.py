"""Interactions with a planted pattern, and networks small enough to learn it within a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.interactions import Interactions
from models.sequence import SequenceConfig, SequenceModel
from models.training import TrainConfig
from models.training_data import Material
from tests.builders import MINUTE, NOON

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
    usual: dict[str, Any] = {"epochs": 12, "batch": 16, "learning_rate": 0.01, "patience": 12}
    return TrainConfig(**usual | more)


def columns(
    sequences: Sequence[Sequence[int]],
    *,
    begin: int = NOON,
    times: Sequence[Sequence[int]] | None = None,
    **more: Any,
) -> Interactions:
    """Return clicks of some users, each a sequence of item rows, a minute apart."""
    user = np.repeat(np.arange(len(sequences)), [len(one) for one in sequences])
    item = np.concatenate([np.asarray(one, np.int64) for one in sequences])
    if times is None:
        times = [[begin + k * MINUTE for k in range(len(one))] for one in sequences]
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
