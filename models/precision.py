"""In which numbers a served network computes: bfloat16 where the processor multiplies it itself."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import torch

__all__ = ["Serve", "serving_dtype"]

Serve: TypeAlias = Literal["auto", "bf16", "fp32"]

NATIVE: Final = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")
"""Capabilities of x86 and Arm processors; without one, bfloat16 is slower than float32."""


def serving_dtype(serve: Serve) -> torch.dtype:
    """Return what to compute in; ``auto`` asks the processor.

    Examples
    --------
    >>> serving_dtype("bf16"), serving_dtype("fp32")
    (torch.bfloat16, torch.float32)
    """
    if serve == "auto":
        ask = getattr(torch.cpu, "get_capabilities", dict)  # older versions of torch lack it
        known: dict[str, object] = ask()
        serve = "bf16" if any(known.get(name) for name in NATIVE) else "fp32"
    return torch.bfloat16 if serve == "bf16" else torch.float32
