"""Symmetric systems of equations, as small ones are solved fastest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = ["solve_lower"]

F64 = NDArray[np.float64]


def solve_lower(k: F64, y: F64) -> F64:
    """Return ``K^-1 y`` of a symmetric matrix, of which the lower half is read.

    By Cholesky's method; a matrix that is not positive definite, as a floor under cosines may
    make it, is solved as any other.

    Parameters
    ----------
    k, y
        (n, n), and (n,) or (n, m).

    Examples
    --------
    >>> solve_lower(np.array([[2.0, 0.0], [1.0, 2.0]]), np.array([3.0, 3.0])).round(6).tolist()
    [1.0, 1.0]
    """
    # a row of the lower half is, as LAPACK counts, a column of the upper one
    _, x, failed = lapack.dposv(k.T, y, lower=0)
    if failed:
        x = np.linalg.solve(np.tril(k) + np.tril(k, -1).T, y)
    solved: F64 = x
    return solved
