"""AdamW's groups of parameters, and how its learning rate rises and falls."""

from __future__ import annotations

import math
from typing import Any

from models.sequence import SequenceModel

__all__ = ["groups_of", "rate_at"]


def groups_of(model: SequenceModel, decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups: matrices decay, vectors and embeddings do not."""
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and _decays(name)]
    names = {id(p) for p in decayed}
    rest = [p for p in model.parameters() if id(p) not in names and p.numel()]
    return [{"params": decayed, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


def _decays(name: str) -> bool:
    return name not in ("ids", "gap.weight", "place.weight")


def rate_at(step: int, steps: int, warmup: float) -> float:
    """Return the share of the learning rate at a step: a linear rise, then half a cosine."""
    rising = max(1, int(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
