"""What a network looks at: the attention of a history's last interaction, block by block.

Attention is where a block takes from, not why an item is listed: what passes a block's
residual path, and how values are mixed afterwards, it does not tell (Jain and Wallace 2019,
arXiv:1902.10186). What an item owes to a source is in its reasons.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.sequence import Block, SequenceModel
from models.windows import Tokens

__all__ = ["gaze"]


def gaze(model: SequenceModel, table: Tensor, tokens: Tokens, asked: Tensor) -> NDArray[np.float32]:
    """Return how much the last of T interactions looks at each, itself included.

    Parameters
    ----------
    model
        The network.
    table
        (N, dim) vectors of its items.
    tokens
        One history for one question.
    asked
        (1, dim) the projected query in force after the last interaction, zero for none.

    Returns
    -------
    ndarray
        (layers, heads, T), oldest first; each head's weights add up to 1.

    Raises
    ------
    ValueError
        There are several questions.
    """
    if len(tokens.question) != 1:
        raise ValueError(f"one question is looked into, not {len(tokens.question)}")
    count = len(tokens.items)
    items, place = torch.from_numpy(tokens.items), torch.from_numpy(tokens.place)
    weight, gap_s = torch.from_numpy(tokens.weight), torch.from_numpy(tokens.gap_s)
    x = model.embed(table[items], weight, gap_s, place)
    x[-1:] += asked
    looks = []
    for block in model.blocks:
        assert isinstance(block, Block), "the model's are"
        attention, normed = block.attention, block.norms[0](x)
        query, key, _ = attention.mix(normed).view(count, 3, attention.heads, -1).unbind(1)
        scores = torch.einsum("hd,thd->ht", query[-1], key) / query.shape[-1] ** 0.5
        looks.append(functional.softmax(scores, dim=-1))
        x = block(x, torch.arange(count), torch.Size([1, count]))
    return torch.stack(looks).numpy()
