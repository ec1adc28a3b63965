"""What further labels would probably buy, from heads solved on fewer labels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aimonk.evaluation.intervals import student
from aimonk.evaluation.metrics import mean_ap
from aimonk.training.logistic import Problems, has_both, solve
from aimonk.training.penalties import deal_folds

NEXT = 50  # images
SHARES = (0.5, 0.7, 1.0)  # of the training images of a draw
# the error falls as a + b / n^c; three points do not determine c, so that the forecast spans two of them
DECAYS = (1, 3)
DRAWS = 6
HELD_OUT = 4  # one of so many parts is scored
LEAST = 40  # labelled images
TOLERANCE = 1e-2
MOST = 3000  # labelled images that are used


@dataclass(frozen=True)
class Forecast:
    """A learning curve and its continuation.

    Attributes:
        points: Number of training images, mean AP.
        images: Number of further images.
        gain: Expected change of mean AP; None where it cannot be estimated.
        interval: 95 %.
        reason: Why it cannot be estimated; empty where it can.
    """

    points: list[tuple[float, float]]
    images: int
    gain: float | None
    interval: tuple[float, float] | None
    reason: str


def forecast(
    components: Tensor,
    labels: np.ndarray,
    mask: np.ndarray,
    groups: np.ndarray,
    penalty: np.ndarray,
    is_outdated: Callable[[], bool],
) -> Forecast | None:
    """Continue the errors 1 - mean AP of heads solved on random parts of the labelled images.

    Each draw holds out a part, and solves on growing shares of the others. The interval encloses those of
    both decays, each that of a mean over draws that share images (Nadeau and Bengio 2003, "Inference for the
    generalization error").

    Args:
        components: [N, R].
        penalty: Of the solution on all labelled images, [A].
        is_outdated: Whether the labels have changed meanwhile, which ends the computation with None.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) < LEAST:
        return Forecast([], NEXT, None, None, f"needs {LEAST} labelled images, {len(rows)} are")
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
    scores = np.full((DRAWS, len(SHARES)), np.nan)
    sizes = np.zeros(len(SHARES))
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        part = deal_folds(np.ones(len(rows), bool), np.ones(len(rows), bool), groups[rows], HELD_OUT, draw)
        held, others = rows[part == 0], rng.permutation(rows[part != 0])
        for i, share in enumerate(SHARES):
            if is_outdated():
                return None
            train = others[: max(2, round(share * len(others)))]
            sizes[i] = len(train)
            scores[draw, i] = _score(components, labels, mask, train, held, penalty)
    complete = scores[np.isfinite(scores).all(axis=1)]
    if len(complete) < DRAWS:
        return Forecast([], NEXT, None, None, "an attribute is too rare among the labelled images")
    points = [(float(n), float(s)) for n, s in zip(sizes, complete.mean(axis=0), strict=True)]
    width = float(student(np.array(DRAWS - 1.0))) * np.sqrt(1 / DRAWS + 1 / (HELD_OUT - 1))
    gains = np.array([[_gain(sizes, 1 - draw, len(rows), c) for draw in complete] for c in DECAYS])
    middle, spread = gains.mean(axis=1), width * gains.std(axis=1, ddof=1)
    low, high = float((middle - spread).min()), float((middle + spread).max())
    return Forecast(points, NEXT, float(middle.mean()), (low, high), "")


def _gain(sizes: np.ndarray, errors: np.ndarray, labelled: int, decay: int) -> float:
    """Fall of the error between `labelled` images and NEXT more, by the curve a + b / n^decay."""
    slope, _ = np.polyfit(sizes**-decay, errors, 1)
    return float(slope * (float(labelled) ** -decay - float(labelled + NEXT) ** -decay))


def _score(
    components: Tensor,
    labels: np.ndarray,
    mask: np.ndarray,
    train: np.ndarray,
    held: np.ndarray,
    penalty: np.ndarray,
) -> float:
    """Mean AP on the held-out images; nan where undefined."""
    x = components[torch.from_numpy(train)]
    centre = x.mean(0)
    known = torch.from_numpy(mask[train]).float()
    y = torch.from_numpy(labels[train]).float() * known
    usable = has_both(y, known)
    problems = Problems(x - centre, y, known * usable, torch.from_numpy(penalty).to(x), TOLERANCE)
    coefficients = solve(problems).coefficients
    logits = (components[torch.from_numpy(held)] - centre) @ coefficients[:-1] + coefficients[-1]
    probs = torch.sigmoid(torch.where(usable, logits, 0)).double().numpy()
    score = mean_ap(labels[held], mask[held], probs)
    return np.nan if score is None else score
