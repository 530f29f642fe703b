"""A LoRA adapter of the text encoder: two small matrices beside each attention's query and value.

Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models,
https://arxiv.org/abs/2106.09685. The adapter is built and trained by the
library ``peft``; what is kept of it are arrays by the name of the layer, so
that whoever serves it needs no ``peft``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

from models.arrays import Arrays
from stream.errors import ModelError

__all__ = ["adapt", "adapter_of", "put_adapter"]

TARGETS: Final = (
    *("query", "value", "query_proj", "value_proj", "q_proj", "v_proj"),
    *("q_lin", "v_lin", "q", "v", "Wqkv"),
)
"""What the layers of an attention's query and value are called in one family or another."""

_HEAD: Final = "base_model.model."
_TAIL: Final = ".weight"


def adapt(model: torch.nn.Module, *, rank: int, alpha: int, dropout: float) -> PeftModel:
    """Put a new adapter, which changes nothing yet, into a model; all else is frozen.

    Parameters
    ----------
    model
        A Hugging Face encoder; its layers are replaced in place.
    rank, alpha
        Width of the two matrices; their product counts ``alpha / rank`` times.
    dropout
        Share of the adapter's input that is left out in training.

    Raises
    ------
    ModelError
        It has no attention whose layers are known by name.
    """
    found = [
        name
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in TARGETS and isinstance(module, torch.nn.Linear)
    ]
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no attention that an adapter could be put to",
            "set encoder.model to a BERT-like encoder",
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=found,
    )
    with warnings.catch_warnings():
        # peft asks for an attribute that later versions of transformers name otherwise
        warnings.simplefilter("ignore", FutureWarning)
        made = get_peft_model(model, config)
    assert isinstance(made, PeftModel)
    return made


def adapter_of(model: PeftModel) -> dict[str, NDArray[np.float32]]:
    """Return the adapter's arrays: ``LAYER.lora_A`` (rank, in) and ``LAYER.lora_B`` (out, rank)."""
    state: Mapping[str, Any] = get_peft_model_state_dict(model)
    return {
        name.removeprefix(_HEAD).removesuffix(_TAIL): tensor.detach().cpu().float().numpy().copy()
        for name, tensor in sorted(state.items())
    }


def put_adapter(model: PeftModel, arrays: Arrays) -> None:
    """Go on from the arrays of :func:`adapter_of`.

    Raises
    ------
    ModelError
        They are of another shape, or of other layers.
    """
    ours = {name: array.shape for name, array in adapter_of(model).items()}
    if ours != {name: array.shape for name, array in arrays.items()}:
        raise ModelError(
            "the adapter is of another shape than the encoder's layers, or of others",
            "begin without it: `rillet train-encoder --anew`",
        )
    state = {
        f"{_HEAD}{name}{_TAIL}": torch.from_numpy(np.asarray(array, dtype=np.float32).copy())
        for name, array in arrays.items()
    }
    set_peft_model_state_dict(model, state)
