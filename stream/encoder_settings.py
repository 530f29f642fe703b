"""Settings of the text encoder's training: the adapter, how it is trained, and when."""

from __future__ import annotations

from pydantic import Field as Setting

from stream.setting_group import Group

__all__ = ["EncoderTuningSettings"]


class EncoderTuningSettings(Group):
    """The text encoder, tuned to the stream by a LoRA adapter: how, and when."""

    enabled: bool = Setting(False, description="whether `finetune` tunes the text encoder too")
    every_days: float = Setting(7, gt=0, description="how often it does")
    rank: int = Setting(8, ge=1, le=256, description="of the adapter's matrices")
    alpha: int = Setting(16, ge=1, description="the adapter counts alpha / rank times")
    dropout: float = Setting(0.05, ge=0, lt=1, description="share of its input left out")
    max_pairs: int = Setting(
        2_000, ge=10, description="pairs of a past and the next item in one pass, at the most"
    )
    max_tokens: int = Setting(32, ge=4, le=512, description="texts are cut to this in training")
    epochs: int = Setting(3, ge=1, description="passes at the most")
    patience: int = Setting(1, ge=1, description="passes without progress after which it stops")
    batch: int = Setting(16, ge=2, description="windows of a step; their items are the negatives")
    length: int = Setting(8, ge=1, le=50, description="interactions of a window, one after another")
    popularity: float = Setting(
        0.0, ge=0, le=1, description="how far the popularity of negatives is corrected for"
    )
    learning_rate: float = Setting(0.002, gt=0, description="of AdamW, at its highest")
    weight_decay: float = Setting(0.01, ge=0, description="of AdamW")
    warmup: float = Setting(0.1, ge=0, lt=1, description="share of steps in which the rate rises")
    holdout: float = Setting(
        0.1, gt=0, lt=1, description="share of the window that is examined, not trained on"
    )
    past: float = Setting(
        1.0, ge=0, description="older interactions that are trained on again, per new one"
    )
    seed: int = Setting(0, ge=0, description="of everything drawn in training")
