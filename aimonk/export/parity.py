"""Whether an exported model agrees with the checkpoint that it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aimonk.files.text import plural


@dataclass
class Agreement:
    """Two predictions of the same images.

    Attributes:
        images: Their number.
        entries: Number of probabilities.
        mean: Mean difference of the probabilities.
        largest: Largest one.
        flipped: Number of different decisions.
        beyond: Those of them whose probability differs from the threshold by more than the tolerance.
    """

    images: int
    entries: int
    mean: float
    largest: float
    flipped: int
    beyond: int

    def __str__(self) -> str:
        same = f"{self.entries - self.flipped} of {plural(self.entries, 'decision')} equal"
        same = same if self.flipped else f"all {plural(self.entries, 'decision')} equal"
        return f"probabilities differ by {self.mean:.1e} on average and at most {self.largest:.1e}, {same}"


def compare(
    expected: np.ndarray,
    thresholds: Sequence[float],
    probs: np.ndarray,
    decisions: np.ndarray,
    tolerance: float,
) -> Agreement:
    """Compare a model's probabilities and decisions with the expected probabilities, each [N, A]."""
    flipped = decisions != (expected >= np.array(thresholds))
    near = np.abs(expected - np.array(thresholds)) <= tolerance
    differences = np.abs(probs - expected)
    return Agreement(
        len(expected),
        expected.size,
        float(differences.mean()),
        float(differences.max()),
        int(flipped.sum()),
        int((flipped & ~near).sum()),
    )
