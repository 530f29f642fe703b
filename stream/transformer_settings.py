"""Settings of the sequence Transformer: its shape, how it is trained, and when."""

from __future__ import annotations

from typing import Literal

from pydantic import Field as Setting

from stream.setting_group import Group

__all__ = ["TransformerSettings"]


class TransformerSettings(Group):
    """The sequence Transformer: its shape, how it is trained, and when."""

    enabled: bool = Setting(False, description="whether `rillet up` runs `finetune` too")
    dim: int = Setting(64, ge=8, le=1024, description="width of the network")
    layers: int = Setting(2, ge=1, le=32, description="blocks of it")
    heads: int = Setting(2, ge=1, description="attention heads of a block; they divide `dim`")
    length: int = Setting(50, ge=2, le=1000, description="last interactions that it reads")
    block: Literal["ligr", "sasrec"] = Setting("ligr", description="gated, or the plain block")
    dropout: float = Setting(0.2, ge=0, lt=1, description="share left out in training")
    purchase: float = Setting(
        0.0, ge=0, description="weight of foretelling purchases, beside the next item"
    )
    value: float = Setting(
        0.0, ge=0, description="weight of foretelling events' values, beside the next item"
    )
    loss: Literal["auto", "softmax", "sampled", "gbce"] = Setting(
        "auto", description="auto: over all items up to 20,000, else over samples"
    )
    negatives: int = Setting(512, ge=1, description="items that a sampled loss draws for a step")
    epochs: int = Setting(10, ge=1, description="passes over the window at the most")
    patience: int = Setting(2, ge=1, description="passes without progress after which it stops")
    batch: int = Setting(64, ge=1, description="sequences of a step")
    accumulate: int = Setting(1, ge=1, description="parts that a step is computed in")
    learning_rate: float = Setting(0.003, gt=0, description="of AdamW, at its highest")
    weight_decay: float = Setting(0.01, ge=0, description="of AdamW")
    holdout: float = Setting(
        0.1, gt=0, lt=1, description="share of the window that is examined, not trained on"
    )
    past: float = Setting(
        1.0, ge=0, description="older interactions that are trained on again, per new one"
    )
    alike: int = Setting(
        10,
        ge=1,
        description="what the first of several interactions of one time counts for, at the most: "
        "it is foretold from earlier times alone; 1 favours what goes on within a visit",
    )
    precision: Literal["no", "bf16", "fp16"] = Setting("no", description="of training's products")
    serve: Literal["auto", "bf16", "fp32"] = Setting(
        "auto", description="what consumers compute in; auto: bf16 where the processor has it"
    )
    window: int = Setting(
        32,
        ge=0,
        description="last interactions that consumers read of a model that reads more, the oldest "
        "few left out where less is then read twice; 0 = all `length`",
    )
    seed: int = Setting(0, ge=0, description="of everything drawn in training")
    every_hours: float = Setting(24, gt=0, description="how often `finetune` trains")
    every_events: int = Setting(
        100_000, ge=1, description="new interactions after which it trains before that"
    )
    folder: str = Setting("training-run", min_length=1, description="where a run's state is kept")
    logs: str = Setting("", description="folder of TensorBoard logs; empty = none")
