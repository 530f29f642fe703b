"""A BERT of two narrow layers with random weights: made, and tuned, in a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

__all__ = ["make_encoder"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def make_encoder(folder: Path, words: Sequence[str], seed: int = 0) -> Path:
    """Write such an encoder, which knows some words, as a Hugging Face folder."""
    (folder / "1_Pooling").mkdir(parents=True)
    numbers = {word: number for number, word in enumerate([*SPECIAL, *words])}
    # Rillet traces an encoder with the tokens 5 to 8.
    size = max(len(numbers), 16)
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.4,
    )
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    ends = [("[CLS]", numbers["[CLS]"]), ("[SEP]", numbers["[SEP]"])]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    pooling = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder
