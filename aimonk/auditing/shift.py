"""Search for a shift or reversal of the label rows against the images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimonk.auditing.permutation import TIE, own_part, standardise
from aimonk.auditing.probe import check_entries
from aimonk.auditing.ridge import PENALTY, principal_components

COMPONENTS = 256  # leading ones, which suffice and bound the time


@dataclass(frozen=True)
class Shift:
    """The order of the label rows that fits the images best.

    Attributes:
        found: True when that is not the given order, and p_value is at most alpha.
        shift: Image i matches label row i + shift.
        reversed: Image i matches label row N - 1 - i; shift is then 0.
        p_value: Adjusted for the number of orders.
        statistics: Fit of each order in standard deviations over permuted labels: (shift, reversed, fit),
            best first.
    """

    found: bool
    shift: int
    reversed: bool
    p_value: float
    statistics: list[tuple[int, bool, float]]


def find_shift(
    features: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray,
    groups: np.ndarray,
    max_shift: int = 20,
    permutations: int = 199,
    alpha: float = 0.05,
    max_images: int = 2000,
    max_attributes: int = 100,
    seed: int = 0,
) -> Shift:
    """Search for a shift or reversal of the label rows under which the features predict the labels.

    For data in which `probe` finds no evidence. The fit of an order is the covariance between labels and
    ridge scores without the image's own group, standardised and averaged over the attributes. The p-value
    compares the best fit of all orders with the best fits for permuted label rows. Rows shifted past the end
    are left out, and so are all but one image and one label row of each photograph: copies in successive rows
    would fit any shift.

    Args:
        features: One row per image, in the order of the images, [N, D].
        labels: 0 or 1, in the order of the label file, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        groups: Images with equal numbers show the same photograph, [N].
        max_shift: The shifts are -max_shift to max_shift.
        max_images: A random sample of this size replaces more images, which bounds the time.
        max_attributes: The same for attributes.
    """
    labels, mask, groups = check_entries(features, labels, mask, groups)
    rng = np.random.default_rng(seed)
    if labels.shape[1] > max_attributes:
        sample = rng.permutation(labels.shape[1])[:max_attributes]
        labels, mask = labels[:, sample], mask[:, sample]
    first = np.unique(groups, return_index=True)[1]  # an image of each photograph
    images = np.sort(first[rng.permutation(len(first))[:max_images]])
    components = principal_components(features[images])
    scores, variances = components.scores[:, :COMPONENTS], components.variances[:COMPONENTS]
    weights = (1 / (variances + PENALTY * components.scale)).astype(np.float32)
    # rows are permuted, so that attributes and NA stay together
    permuted = rng.permuted(np.tile(np.arange(len(first)), (permutations, 1)), axis=1).T
    limit = min(max_shift, len(labels) - 2)
    candidates = [(shift, False) for shift in range(-limit, limit + 1)] + [(0, True)]
    fits, tie = [], TIE
    for shift, backwards in candidates:
        partner = len(labels) - 1 - images if backwards else images + shift
        valid = (partner >= 0) & (partner < len(labels))
        valid[valid] = _first_of_each(groups[partner[valid]])
        partner = partner[valid]
        rows = np.column_stack([partner, first[permuted[groups[partner]]]])  # [K, 1 + permutations]
        order_fit, rounding = _fit(scores[valid], weights, labels, mask, rows)
        fits.append(order_fit)
        tie = max(tie, rounding)
    fit = np.array(fits)  # [orders, 1 + permutations]
    best = fit.max(0)
    p_value = float((best >= best[0] - tie).mean())
    ranked = sorted(
        ((*order, float(z)) for order, z in zip(candidates, fit[:, 0], strict=True)), key=lambda r: -r[2]
    )
    shift, backwards, _ = ranked[0]
    found = p_value <= alpha and (shift, backwards) != (0, False)
    return Shift(found, shift, backwards, p_value, ranked)


def _fit(
    scores: np.ndarray,
    weights: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray,
    rows: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Standardised statistic, mean over attributes, [1 + P], and its rounding error.

    An attribute with a constant statistic is left out. Scores are [K, R], rows [K, 1 + P].
    """
    fit, counted, largest, apart = np.zeros(rows.shape[1]), 0, 0.0, np.arange(len(rows))
    for a in range(labels.shape[1]):
        known = mask[rows, a]
        y = labels[rows, a].astype(np.float32)
        mean = y.sum(0) / np.maximum(known.sum(0), 1)
        centred = np.where(known, y - mean, 0).astype(np.float32)
        total, own = weights @ (scores.T @ centred) ** 2, own_part(scores, weights, centred, apart)
        statistic, rounding = standardise(total, own, len(centred))
        fit, counted, largest = fit + statistic, counted + bool(statistic.any()), max(largest, rounding)
    return fit / max(counted, 1), largest


def _first_of_each(groups: np.ndarray) -> np.ndarray:
    """True for the first entry of each group, [K]."""
    first = np.zeros(len(groups), dtype=bool)
    first[np.unique(groups, return_index=True)[1]] = True
    return first
