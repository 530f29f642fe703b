"""The text encoder: what an item says, as a unit vector.

This file's head imports neither torch nor transformers nor onnxruntime; they
are loaded by :func:`load_encoder`, and torch only where no export is cached.
"""

from __future__ import annotations

import hashlib
import unicodedata

__all__ = ["normalise", "text_hash"]


def normalise(text: str) -> str:
    r"""Return the text in NFKC with single spaces: what is hashed and encoded.

    Examples
    --------
    >>> normalise("  Ｔｅａ\n  ｃｕｐ ")
    'Tea cup'
    """
    return " ".join(unicodedata.normalize("NFKC", text).split())


def text_hash(text: str) -> str:
    """Return the SHA-256 (hex) of the normalised text; of a blank one, an empty string.

    Examples
    --------
    >>> text_hash("Tea  cup") == text_hash("Tea cup")
    True
    >>> text_hash(" ")
    ''
    """
    clean = normalise(text)
    return hashlib.sha256(clean.encode("utf-8", "surrogatepass")).hexdigest() if clean else ""
