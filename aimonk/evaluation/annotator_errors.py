"""How often each annotator errs, if errors do not depend on the image."""

from dataclasses import dataclass

import numpy as np

from aimonk.evaluation.arrays import Floats, Ints

ITERATIONS = 100
LARGEST = 0.5 - 1e-6  # error rate of an annotator who guesses
SMALLEST = 1e-6


@dataclass(frozen=True)
class Labels:
    """The known labels of one attribute, sorted by image.

    Attributes:
        positive: Whether the label is 1, [L].
        images: Number of its image, ascending from 0 without gaps, [L].
        annotators: Number of its annotator, from 0, [L].
    """

    positive: np.ndarray
    images: Ints
    annotators: Ints


def estimate_errors(labels: Labels) -> tuple[Floats, Floats]:
    """Error rate of each annotator, and the probability that each image is positive, [K] and [n].

    Expectation maximisation (Dawid and Skene 1979, "Maximum likelihood estimation of observer error-rates
    using the EM algorithm") with one error rate per annotator.
    """
    counts = np.bincount(labels.images)
    posterior = np.bincount(labels.images, labels.positive) / counts
    number = np.bincount(labels.annotators)
    for _ in range(ITERATIONS):
        own = posterior[labels.images]
        wrong = np.bincount(labels.annotators, np.where(labels.positive, 1 - own, own))
        errors = np.clip((wrong + 0.5) / (number + 1), SMALLEST, LARGEST)
        prior = np.clip(posterior.mean(), SMALLEST, 1 - SMALLEST)
        trust = np.log((1 - errors) / errors)[labels.annotators]
        odds = np.bincount(labels.images, np.where(labels.positive, trust, -trust))
        posterior = 1 / (1 + np.exp(-np.clip(odds + np.log(prior / (1 - prior)), -700, 700)))
    return errors, posterior


def count_positives(labels: Labels, chances: Floats) -> Floats:
    """Probabilities of 0, 1, ... positive labels of each image, [n, most labels + 1].

    Args:
        chances: Probability that each label is positive, [L].
    """
    counts = np.bincount(labels.images)
    starts = np.cumsum(counts) - counts
    found = np.zeros((len(counts), counts.max() + 1))
    found[:, 0] = 1
    for place in range(counts.max()):
        rows = np.flatnonzero(counts > place)
        chance = chances[starts[rows] + place][:, None]
        more = np.pad(found[rows, :-1], ((0, 0), (1, 0)))
        found[rows] = found[rows] * (1 - chance) + more * chance
    return found
