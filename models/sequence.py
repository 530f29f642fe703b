"""The sequence Transformer: what a user takes next, from what he did last.

An item enters as its projected content vector plus an embedding of its own, so
that an item never trained on has a place at once. To each interaction come
what kind it was, the time until the next one (at the end: until now) and the
query in force. The last position's output, times every item's vector, gives
the odds of what is taken next.

Blocks: SASRec (Kang and McAuley 2018, arXiv:1808.09781) and LiGR's, whose
sublayers are gated by their input (Borisyuk et al. 2025, arXiv:2502.03417), with
SwiGLU (Shazeer 2020, arXiv:2002.05202), as eSASRec has them (arXiv:2508.06450).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Attention", "Batch", "Block", "SequenceConfig", "SequenceModel", "Task"]

Task: TypeAlias = Literal["next", "purchase", "value"]

SCALE: Final = 0.02
"""Standard deviation of initial weights."""

LONGEST_GAP_S: Final = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class SequenceConfig:
    """Shape of the network.

    Attributes
    ----------
    dim, layers, heads
        Width, blocks, attention heads of a block.
    length
        Interactions that it reads, the last ones.
    block
        ``ligr`` or ``sasrec``.
    dropout, id_dropout
        Share of activations, and of items' own embeddings, left out in training; without
        the latter the content of items that were seen often would never learn to stand alone.
    content, ids
        Whether an item's content vector, and an embedding of its own, enter.
    content_dim
        Length of content vectors and of queries' vectors.
    gaps
        Buckets of the time between two interactions, by its logarithm.
    tasks
        What it predicts: the item taken next, whether it is bought, its event's value.
    """

    dim: int = 64
    layers: int = 2
    heads: int = 2
    length: int = 50
    block: Literal["ligr", "sasrec"] = "ligr"
    dropout: float = 0.2
    id_dropout: float = 0.1
    content: bool = True
    ids: bool = True
    content_dim: int = 384
    gaps: int = 24
    tasks: tuple[Task, ...] = ("next",)


@dataclass(slots=True)
class Batch:
    """B sequences of L interactions, oldest first; shorter ones end in padding.

    Attributes
    ----------
    items
        (B, L) item rows, -1 for padding.
    weight
        (B, L) weight of the interaction's type, negative for negative roles.
    gap_s
        (B, L) seconds until the next interaction; at the end until the moment asked about.
    query
        (B, L) row of ``queries`` that was in force after the interaction, -1 for none.
    queries
        (Q, content_dim) unit rows.
    """

    items: Tensor
    weight: Tensor
    gap_s: Tensor
    query: Tensor
    queries: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return it on a device."""
        fields = (self.items, self.weight, self.gap_s, self.query, self.queries)
        return Batch(*(one.to(device) for one in fields))


class SequenceModel(nn.Module):
    """The network over N items.

    Parameters
    ----------
    config
        Its shape.
    vectors
        (N, content_dim) content vectors of the items, zero where there is none. They are
        no weights: whoever loads the model brings them.

    Attributes
    ----------
    centre
        (content_dim,) mean of the vectors it was made with: titles of one shop have much
        in common, and what tells them apart is what is left.
    """

    centre: Tensor
    contents: Tensor

    def __init__(self, config: SequenceConfig, vectors: Tensor) -> None:
        super().__init__()
        self.config = config
        has = vectors.abs().sum(dim=1) > 0
        centre = vectors[has].mean(dim=0) if bool(has.any()) else torch.zeros(config.content_dim)
        self.register_buffer("centre", centre.to(torch.float32))
        self.register_buffer("contents", torch.zeros(0), persistent=False)
        self.show(vectors)
        self.ids = nn.Parameter(torch.zeros(len(vectors) if config.ids else 0, config.dim))
        self.project = nn.Linear(config.content_dim, config.dim, bias=False)
        self.ask = nn.Linear(config.content_dim, config.dim, bias=False)
        self.kind = nn.Linear(2, config.dim)
        self.gap = nn.Embedding(config.gaps, config.dim)
        self.place = nn.Embedding(config.length, config.dim)
        kind = _LigrBlock if config.block == "ligr" else _SasrecBlock
        self.blocks = nn.ModuleList(kind(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim)
        self.drop = nn.Dropout(config.dropout)
        self.heads = nn.ModuleDict(
            {task: nn.Linear(2 * config.dim, 1) for task in config.tasks if task != "next"}
        )
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=SCALE)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.project.weight, std=config.content_dim**-0.5)

    def show(self, vectors: Tensor) -> None:
        """Set the items' content vectors: (N, content_dim), zero where there is none."""
        self.contents = self._centred(vectors)

    def forget_contents(self) -> None:
        """Drop the items' content vectors: what is made of them, :meth:`items`, is known."""
        self.contents = torch.zeros(0)

    def _centred(self, vectors: Tensor) -> Tensor:
        has = vectors.abs().sum(dim=1, keepdim=True) > 0
        moved = torch.where(has, vectors.to(self.centre) - self.centre, 0.0)
        return functional.normalize(moved, dim=1, eps=1e-6)

    def over(
        self, vectors: NDArray[np.float32], rows: NDArray[np.integer] | None = None
    ) -> SequenceModel:
        """Return a copy of it over another catalogue.

        Parameters
        ----------
        vectors
            (M, content_dim) content vectors of that catalogue's items.
        rows
            (N,) rows there of this model's items; None for the first N.
        """
        copy = SequenceModel(self.config, torch.from_numpy(vectors))
        weights = self.state_dict()
        if self.config.ids:
            ids = torch.zeros(len(vectors), self.config.dim)
            places = np.arange(len(self.ids)) if rows is None else rows
            ids[torch.from_numpy(places)] = weights["ids"].cpu()
            weights = weights | {"ids": ids}
        copy.load_state_dict(weights)
        copy.show(torch.from_numpy(vectors))
        return copy.train(self.training)

    def welcome(self, rows: Tensor, generator: torch.Generator) -> None:
        """Give items that are about to be trained on an embedding, unless they have one.

        Of the others it stays zero: they are what their content says.

        Parameters
        ----------
        rows
            (n,) item rows.
        generator
            On the CPU.
        """
        if not self.config.ids:
            return
        with torch.no_grad():
            new = rows[(self.ids[rows] == 0).all(dim=1)]
            drawn = torch.randn(len(new), self.config.dim, generator=generator) * SCALE
            self.ids[new] = drawn.to(self.ids)

    def items(self) -> Tensor:
        """Return the vectors of all items, (N, dim)."""
        table = torch.zeros(len(self.contents), self.config.dim, device=self.contents.device)
        if self.config.content:
            table = table + self.project(self.contents)
        if self.config.ids:
            # Rows that nobody welcomed stay zero, though their items serve as negatives.
            ids = self.ids * (self.ids != 0).any(dim=1, keepdim=True)
            if self.training and self.config.id_dropout and self.config.content:
                kept = torch.rand(len(ids), 1, device=ids.device) >= self.config.id_dropout
                ids = ids * kept
            table = table + ids
        return table

    def items_at(self, rows: Tensor, vectors: Tensor) -> Tensor:
        """Return the vectors of some items, whose content may be new, and they themselves too.

        Parameters
        ----------
        rows
            (n,) item rows; those beyond the model's items have no embedding of their own.
        vectors
            (n, content_dim) their content vectors, zero where there is none.
        """
        table = torch.zeros(len(rows), self.config.dim)
        if self.config.content:
            table += self.project(self._centred(vectors))
        known = rows < len(self.ids)
        table[known] += self.ids[rows[known]]
        return table

    def forward(self, batch: Batch, table: Tensor) -> Tensor:
        """Return the outputs at every position.

        Parameters
        ----------
        batch
            The sequences.
        table
            (N, dim) from :meth:`items`.

        Returns
        -------
        Tensor
            (B, L, dim), zero for padding; times ``table`` they are the log-odds of the item
            taken next.
        """
        # Only attention sees padding: most windows of a young stream are mostly that.
        there = (batch.items.flatten() >= 0).nonzero().squeeze(1)
        shape = batch.items.shape
        weight, query = batch.weight.flatten()[there], batch.query.flatten()[there]
        taken = table[batch.items.flatten()[there]]
        x = self.embed(taken, weight, batch.gap_s.flatten()[there], there % shape[1])
        if len(batch.queries):
            asked = self.ask(batch.queries)[query.clamp(min=0)]
            x = x + asked * (query >= 0).unsqueeze(-1)
        x = self.drop(x)
        for block in self.blocks:
            x = block(x, there, shape)
        return _spread(self.norm(x), there, shape)

    def embed(self, taken: Tensor, weight: Tensor, gap_s: Tensor, place: Tensor) -> Tensor:
        """Return interactions as they enter, but for the query: (n, dim).

        Parameters
        ----------
        taken
            (n, dim) vectors of the items.
        weight, gap_s
            (n,) as of :class:`Batch`.
        place
            (n,) which of its sequence each is.
        """
        kind = torch.stack([weight, (weight > 0).to(weight)], dim=-1)
        x = taken + self.kind(kind) + self.gap(self._bucket(gap_s))
        return torch.as_tensor(x + self.place(place))

    def _bucket(self, gap_s: Tensor) -> Tensor:
        """Return buckets that widen by a constant factor; 0 is the same second."""
        step = (self.config.gaps - 1) / torch.log1p(torch.tensor(LONGEST_GAP_S))
        bucket = torch.ceil(torch.log1p(gap_s.clamp(min=0)) * step.to(gap_s.device))
        return bucket.clamp(max=self.config.gaps - 1).long()

    def judge(self, task: Task, outputs: Tensor, taken: Tensor) -> Tensor:
        """Return what a further task says of items taken at positions: (n,).

        Parameters
        ----------
        task
            ``purchase``: log-odds that it is bought; ``value``: its event's value.
        outputs, taken
            (n, dim) outputs at the positions, and vectors of the items.
        """
        both = torch.cat([outputs, taken], dim=-1)
        return torch.as_tensor(self.heads[task](both)).squeeze(-1)


def _spread(x: Tensor, there: Tensor, shape: torch.Size) -> Tensor:
    """Return (T, d) rows of what is there in their places of B sequences: (B, L, d), else 0."""
    padded = x.new_zeros(shape.numel(), x.shape[1]).index_copy(0, there, x)
    return padded.view(*shape, x.shape[1])


class Attention(nn.Module):
    """Causal self-attention; padding comes last, so that nothing real looks at it."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.heads, self._dropout = config.heads, config.dropout
        self.mix = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x: Tensor, there: Tensor, shape: torch.Size) -> Tensor:
        """Return what (n, dim) that are there in the places of B sequences look at."""
        dim = x.shape[1]
        parts = _spread(self.mix(x), there, shape).view(*shape, 3, self.heads, dim // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        dropout = self._dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True
        )
        return torch.as_tensor(self.out(mixed.transpose(1, 2).reshape(-1, dim)[there]))


class Block(nn.Module, ABC):
    """Attention, and what comes after it position by position."""

    norms: nn.ModuleList
    attention: Attention

    def forward(self, x: Tensor, there: Tensor, shape: torch.Size) -> Tensor:
        """Return (n, dim) outputs of what is there in the places of B sequences."""
        return self.onward(x, self.attention(self.norms[0](x), there, shape))

    @abstractmethod
    def onward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return the outputs of inputs that attention has seen so much of: (n, dim) all."""


class _SasrecBlock(Block):
    """Attention and a two-layer perceptron, each on normed input and added to it."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(config.dim) for _ in range(2))
        self.attention = Attention(config)
        self.inner = nn.Linear(config.dim, config.dim)
        self.outer = nn.Linear(config.dim, config.dim)
        self.drop = nn.Dropout(config.dropout)

    def onward(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.drop(seen)
        inner = self.drop(functional.relu(self.inner(self.norms[1](x))))
        return torch.as_tensor(x + self.drop(self.outer(inner)))


class _LigrBlock(Block):
    """As SASRec's, with SwiGLU, each sublayer times a gate that its input opens."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        dim, wide = config.dim, 4 * config.dim
        self.norms = nn.ModuleList(nn.RMSNorm(dim) for _ in range(2))
        self.gates = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        self.attention = Attention(config)
        self.inner = nn.Linear(dim, 2 * wide, bias=False)
        self.outer = nn.Linear(wide, dim, bias=False)
        self.drop = nn.Dropout(config.dropout)

    def onward(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + torch.sigmoid(self.gates[0](x)) * self.drop(seen)
        gate = torch.sigmoid(self.gates[1](x))
        open_, inner = self.inner(self.norms[1](x)).chunk(2, dim=-1)
        return torch.as_tensor(x + gate * self.drop(self.outer(functional.silu(open_) * inner)))
