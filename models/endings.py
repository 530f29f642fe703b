"""A network's outputs at the last interactions of histories alone, computed where they count.

The last block keeps what others look at, and nothing else, of interactions that are
nobody's last; histories that begin alike are read once: see :mod:`models.windows`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.sequence import Attention, Block, SequenceModel
from models.windows import Tokens

__all__ = ["outputs"]


def outputs(model: SequenceModel, table: Tensor, tokens: Tokens, asked: Tensor) -> Tensor:
    """Return what :class:`models.sequence.SequenceModel` says at the Q last interactions.

    Parameters
    ----------
    model
        The network.
    table
        (N, dim) vectors of its items.
    tokens
        The T interactions.
    asked
        (Q, dim) projected queries in force after the last interactions, zero for none.

    Returns
    -------
    Tensor
        (Q, dim) in the order of ``tokens``.
    """
    before, (rows, most, ends) = tokens.before, tokens.shape
    weight = torch.from_numpy(tokens.weight)
    items, place = torch.from_numpy(tokens.items), torch.from_numpy(tokens.place)
    x = model.embed(table[items], weight, torch.from_numpy(tokens.gap_s), place)
    x[before:] += asked
    mask = _mask(tokens)
    own = tokens.row[before:] * ends + tokens.column[before:]
    wide = tokens.row * (most + ends) + tokens.column
    wide[before:] += most
    there, last = torch.from_numpy(wide), torch.from_numpy(own)
    *blocks, final = model.blocks
    for block in blocks:
        assert isinstance(block, Block), "the model's are"
        seen = _attend(block.attention, block.norms[0](x), (there, there), (rows, mask))
        x = block.onward(x, seen)
    assert isinstance(final, Block), "the model's are"
    seen = _attend(final.attention, final.norms[0](x), (there, last), (rows, mask[:, :, most:]))
    return torch.as_tensor(model.norm(final.onward(x[before:], seen)))


def _mask(tokens: Tokens) -> Tensor:
    """Return what may look at what: (R, 1, S, S), S places of the P and then of the Q."""
    before, (rows, most, ends) = tokens.before, tokens.shape
    size = most + ends
    mask = np.zeros((rows, size, size), dtype=np.bool_)
    mask[:, :most, :most] = np.tri(most, dtype=np.bool_)
    own = np.arange(most, size)
    mask[:, own, own] = True  # of padding too, which has to look at something
    mask[tokens.row[before:], most + tokens.column[before:], :most] = (
        np.arange(most) < tokens.seen[:, None]
    )
    return torch.from_numpy(mask[:, None])


def _attend(
    attention: Attention, x: Tensor, places: tuple[Tensor, Tensor], looks: tuple[int, Tensor]
) -> Tensor:
    """Return what the last n interactions look at: (n, dim).

    Parameters
    ----------
    attention
        Of the block.
    x
        (T, dim) normed.
    places
        (T,) of all among the R x S; (n,) of those that look, among the R x W.
    looks
        R, and (R, 1, W, S) which of them may look at which.
    """
    (there, mine), (rows, mask) = places, looks
    dim, wide, size = x.shape[1], *mask.shape[2:]
    weight = attention.mix.weight
    keys = functional.linear(x, weight[dim:])
    keys = keys.new_zeros(rows * size, 2 * dim).index_copy_(0, there, keys)
    asks = functional.linear(x[len(x) - len(mine) :], weight[:dim])
    asks = asks.new_zeros(rows * wide, dim).index_copy_(0, mine, asks)
    heads = attention.heads
    key, value = keys.view(rows, size, 2, heads, dim // heads).permute(2, 0, 3, 1, 4)
    query = asks.view(rows, wide, heads, dim // heads).transpose(1, 2)
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return torch.as_tensor(attention.out(mixed.transpose(1, 2).reshape(-1, dim)[mine]))
