"""Array types, and arithmetic with nan for undefined values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Ints = NDArray[np.integer]


def divide(numerator: Floats, denominator: Floats, defined: Bools | None = None) -> Floats:
    """Quotient in float64; nan where `defined` is False (None: where the denominator is 0)."""
    defined = denominator > 0 if defined is None else defined
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=defined)


def mean_defined(values: Floats) -> Floats:
    """Mean of the finite values along the last axis; nan where there are none."""
    defined = np.isfinite(values)
    return divide(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1))
