"""Association between attributes, and dependence of NA on other attributes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aimonk.evaluation.significance import ALPHA, holm

BLOCK = 8192  # rows at a time, which bounds the memory


class Dependence(NamedTuple):
    """Dependence of an attribute's NA on the value of another attribute.

    Attributes:
        given: Index of the other attribute.
        phi: -1 to 1; positive if NA where the other attribute is present.
        p_adjusted: Adjusted for the number of pairs of attributes.
    """

    given: int
    phi: float
    p_adjusted: float


def associate(labels: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> list[dict]:
    """Association of each pair of attributes, on the jointly known entries.

    Pairs with p_adjusted above .05 come last, however strong.

    Rows are assumed independent: pass one row per photograph.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        names: One per attribute.

    Returns:
        One dictionary per pair, ready for JSON, strongest first: `attributes`, `known` (jointly), `both`,
        `phi` (-1 to 1, 0 if independent), `p_value` (Fisher's exact test), `p_adjusted` (Holm, over the
        pairs) and `interval` (95 %, of phi). The last four are None where one of the two is constant.
    """
    known, positive = _indicators(labels, mask, names)
    negative = known & ~positive
    tables = _count(positive, negative, positive, negative)
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    rows = [{"attributes": [names[a], names[b]], **_describe(tables[:, :, a, b])} for a, b in pairs]
    return _rank(rows)


def associate_unknown(labels: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> list[dict]:
    """Tests for each attribute whether NA depends on the value or on NA of another attribute.

    If it does, the known entries are not a random sample, and scores on them may not hold for the others.
    Tests with p_adjusted above .05 come last, however strong the association.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        names: One per attribute.

    Returns:
        One dictionary per test, ready for JSON, strongest first: `attribute` (whose NA is tested), `given`
        (the other attribute), `on` ("value", on the rows where that one is known, or "unknown", on all
        rows), `known` (rows used), `both` (rows with NA and with the value 1, or both NA), `phi`, `p_value`,
        `p_adjusted` (Holm, over all tests) and `interval` as in `associate`.
    """
    known, positive = _indicators(labels, mask, names)
    by_value = _count(~known, known, positive, known & ~positive)
    by_unknown = _count(~known, known, ~known, known)
    rows = []
    for a, name in enumerate(names):
        for b, given in enumerate(names):
            if a != b:
                row = {"attribute": name, "given": given}
                rows.append({**row, "on": "value", **_describe(by_value[:, :, a, b])})
            if a < b:  # symmetric: once per pair
                rows.append({**row, "on": "unknown", **_describe(by_unknown[:, :, a, b])})
    return _rank(rows)


def strongest_dependence(labels: np.ndarray, mask: np.ndarray) -> list[Dependence | None]:
    """For each attribute the value of another one that NA depends on most, by phi^2 times the number of rows.

    NA together with NA of other attributes, as of images without any label, says nothing about values and is
    left out. A thousand attributes take seconds.

    Args:
        labels: 0 or 1, [N, A], one row per photograph; ignored where mask is False.
        mask: True where the label is known, [N, A].

    Returns:
        None for an attribute without NA, and where no other attribute has both values on rows with NA and
        without.
    """
    known = np.asarray(mask, dtype=bool)
    incomplete = np.flatnonzero(~known.all(axis=0))
    strongest: list[Dependence | None] = [None] * known.shape[1]
    if not len(incomplete):
        return strongest
    positive, unknown = known & (np.asarray(labels) == 1), ~known[:, incomplete]
    values = [positive, known & ~positive]
    with_na = np.stack([_overlap(unknown, value) for value in values])  # [2, U, A]
    tables = np.stack([with_na, np.stack([v.sum(0) for v in values])[:, None] - with_na])  # [2, 2, U, A]
    (a, b), (c, d) = tables.astype(np.float64)
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    phi = np.divide(a * d - b * c, np.sqrt(margins), out=np.zeros_like(a), where=margins > 0)
    strength = phi**2 * tables.sum((0, 1))
    for i, attribute in enumerate(incomplete):
        given = int(strength[i].argmax())
        if margins[i, given] > 0:
            p = min(1.0, fisher_exact(tables[:, :, i, given]) * int((margins > 0).sum()))
            strongest[attribute] = Dependence(given, float(phi[i, given]), p)
    return strongest


def fisher_exact(table: np.ndarray) -> float:
    """Two-sided p-value of Fisher's exact test on a 2x2 table of counts."""
    (a, b), (c, d) = np.asarray(table, dtype=np.int64)
    row, column, total = a + b, a + c, a + b + c + d
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    x = np.arange(max(0, row + column - total), min(row, column) + 1)
    log_p = -log_factorial[[x, row - x, column - x, total - row - column + x]].sum(0)
    # the margins are equal for all x and cancel in the ratio
    p = np.exp(log_p - log_p.max())
    return float(min(1.0, p[p <= p[a - x[0]] * (1 + 1e-7)].sum() / p.sum()))


def _indicators(labels: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    labels, known = np.asarray(labels), np.asarray(mask, dtype=bool)
    if labels.ndim != 2 or labels.shape != known.shape or labels.shape[1] != len(names):
        raise ValueError(
            f"labels and mask have the shapes {labels.shape} and {known.shape}; "
            f"expected [N, {len(names)}] for both, one column per name"
        )
    return known, known & (labels == 1)


def _count(x1: np.ndarray, x0: np.ndarray, y1: np.ndarray, y0: np.ndarray) -> np.ndarray:
    """2x2 tables of the columns of x against those of y, [2, 2, X, Y]; 1 comes before 0."""
    return np.array([[_overlap(x, y) for y in (y1, y0)] for x in (x1, x0)])


def _overlap(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Number of rows with both, for all columns of x, [N, X], and of y, [N, Y]."""
    counts = np.zeros((x.shape[1], y.shape[1]), dtype=np.int64)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        # float32 is exact up to 2**24 and, unlike integers, uses BLAS
        counts += (x[rows].T.astype(np.float32) @ y[rows].astype(np.float32)).round().astype(np.int64)
    return counts


def _describe(table: np.ndarray) -> dict:
    row = {"known": int(table.sum()), "both": int(table[0, 0])}
    margins = np.concatenate([table.sum(0), table.sum(1)]).astype(np.float64)
    if not margins.all():
        return {**row, "phi": None, "p_value": None, "interval": None}
    phi = float(table[0, 0] * float(table[1, 1]) - table[0, 1] * float(table[1, 0])) / math.sqrt(
        margins.prod()
    )
    return {**row, "phi": phi, "p_value": fisher_exact(table), "interval": _interval(phi, row["known"])}


def _interval(phi: float, known: int) -> list[float] | None:
    """95 % interval of a correlation, by Fisher's z transform; None below four rows."""
    if known < 4:
        return None
    z = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, phi)))
    half = 1.96 / math.sqrt(known - 3)
    return [math.tanh(z - half), math.tanh(z + half)]


def _rank(rows: list[dict]) -> list[dict]:
    for row, adjusted in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_adjusted"] = adjusted
    # a perfect association of three entries is no evidence
    return sorted(rows, key=lambda row: (not is_significant(row), -abs(row["phi"] or 0.0)))


def is_significant(row: dict) -> bool:
    """Whether a row of `associate` or `associate_unknown` is beyond chance."""
    return row["p_adjusted"] is not None and row["p_adjusted"] <= ALPHA
