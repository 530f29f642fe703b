"""The text encoder as a network that can be trained: tokens in, unit vectors out, with gradients.

Loads torch: for those who train, not for those who serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from features.model_folder import shape_of, tokenizer_of
from features.onnx_export import load_model
from features.text import CHARS_PER_TOKEN, normalise
from stream.settings import EncoderSettings

__all__ = ["Trunk"]


class Trunk(torch.nn.Module):
    """A Hugging Face encoder with its tokenizer and its pooling, as :class:`features.text.Encoder`.

    Its own dropout is off: what is trained is an adapter, which has one of its own.

    Parameters
    ----------
    folder
        The model.
    settings
        Of the encoder.
    max_tokens
        To which texts are cut; not beyond the settings'.

    Raises
    ------
    EncoderError
        The folder has no tokenizer.
    """

    def __init__(self, folder: Path, settings: EncoderSettings, max_tokens: int) -> None:
        super().__init__()
        shape = shape_of(folder, settings)
        self._shape = shape._replace(max_tokens=min(max_tokens, shape.max_tokens))
        self._tokenizer = tokenizer_of(folder, self._shape)
        self.model: Any = load_model(folder)
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text; none of a blank one."""
        limit = self._shape.max_tokens * CHARS_PER_TOKEN
        clean = [normalise(text)[:limit] for text in texts]
        coded = self._tokenizer.encode_batch(clean)
        return [code.ids if text else [] for code, text in zip(coded, clean, strict=True)]

    def forward(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Return unit rows (n, dim) of n texts, none of which is blank."""
        device = next(self.model.parameters()).device
        longest = max(len(ids) for ids in tokens)
        rows = [[*ids, *[self._shape.pad] * (longest - len(ids))] for ids in tokens]
        ids = torch.tensor(rows, device=device)
        length = torch.tensor([len(its) for its in tokens], device=device)
        mask = torch.arange(longest, device=device) < length[:, None]
        states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        if self._shape.pooling == "cls":
            pooled = states[:, 0]
        else:
            pooled = (states * mask[:, :, None]).sum(dim=1) / length[:, None]
        return torch.nn.functional.normalize(pooled, dim=1)
