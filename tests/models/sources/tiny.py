"""Tiny trained models of the alphabet: each of ten letters is followed by the next one."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from models.loaded import Loaded
from models.sequence import SequenceModel
from models.sources.base import F32, World
from models.sources.transformer import Transformer
from models.training import train
from models.training_data import Material
from tests.models.planted import columns, network, teaching

LETTERS = "abcdefghij"


def vector(letter: str) -> F32:
    """Return a letter's content vector."""
    angle = 2.4 * LETTERS.index(letter)
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


@cache
def alphabet(step: int = 1) -> SequenceModel:
    """Return a model of steps of so many letters; row k is the letter k."""
    starts = np.random.default_rng(0).integers(0, len(LETTERS), 40)
    walks = [[int(start + step * k) % len(LETTERS) for k in range(7)] for start in starts]
    model = network(torch.tensor(np.array([vector(one) for one in LETTERS])), content_dim=2)
    train(model, Material(columns(walks), np.zeros((0, 2), np.float32)), teaching(epochs=30))
    return model


def serve(source: Transformer, place: World, version: str = "tiny", step: int = 1) -> None:
    """Let a source serve a model over the catalogue of a place."""
    rows = place.catalogue.rows_of(LETTERS)
    vectors, seen = source.place()
    model = alphabet(step).over(vectors, rows)
    source.swap(Loaded.of(model, version, seen))
