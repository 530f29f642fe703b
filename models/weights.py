"""Learned arrays as a safetensors file: what a trained model is kept in.

The format (https://github.com/huggingface/safetensors) holds names, types,
shapes and numbers, and nothing that could be executed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.arrays import Arrays

__all__ = ["parse_weights", "weights_file"]


def weights_file(arrays: Arrays) -> bytes:
    """Return arrays of any shapes as a file; equal arrays give equal bytes.

    Raises
    ------
    ValueError
        An array is not of booleans, integers or floats, or a number is not finite.

    Examples
    --------
    >>> weights_file({"w": np.array([np.inf])})
    Traceback (most recent call last):
    ...
    ValueError: w has a number that is not finite
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} is of {array.dtype}, which no weights are")
    _demand_finite(arrays)
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def parse_weights(content: bytes) -> dict[str, NDArray[Any]]:
    """Read :func:`weights_file`.

    Raises
    ------
    ValueError
        It is no such file, or a number is not finite.

    Examples
    --------
    >>> parse_weights(weights_file({"w": np.array([[1, 2]])}))["w"].shape
    (1, 2)
    """
    try:
        arrays: dict[str, NDArray[Any]] = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"not a safetensors file of numpy's types: {error}") from error
    _demand_finite(arrays)
    return arrays


def _demand_finite(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has a number that is not finite")
