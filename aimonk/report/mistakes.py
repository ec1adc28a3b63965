"""The images on which a model is most wrong: absent with a high probability, present with a low one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

MOST_SHOWN, MOST_LISTED = 4, 200  # images and names per attribute and kind of mistake


@dataclass(frozen=True)
class Mistakes:
    """One attribute's mistakes.

    Attributes:
        false_positives: Row of the label table and probability; the worst ones, highest probability first,
            of which the first MOST_SHOWN are shown as images.
        false_negatives: The same, lowest probability first.
        counts: Total number of false positives and of false negatives.
    """

    attribute: str
    false_positives: list[tuple[int, float]]
    false_negatives: list[tuple[int, float]]
    counts: tuple[int, int]

    @property
    def rows(self) -> list[int]:
        """Rows of the images shown."""
        return [row for row, _ in (*self.false_positives[:MOST_SHOWN], *self.false_negatives[:MOST_SHOWN])]


def worst_mistakes(
    labels: np.ndarray,
    mask: np.ndarray,
    probs: np.ndarray,
    decisions: np.ndarray,
    attributes: Sequence[str],
    shown: Iterable[int],
    rows: np.ndarray,
) -> list[Mistakes]:
    """The worst mistakes for each attribute in `shown`.

    Args:
        labels: 0 or 1, [n, A]; ignored where mask is False.
        mask: True where the label is known, [n, A].
        probs: [n, A].
        decisions: True where the attribute is predicted present, [n, A].
        rows: Rows of the label table, [n].
    """
    found = []
    for a in shown:
        known, present, predicted = mask[:, a], labels[:, a] == 1, decisions[:, a].astype(bool)
        sides = []
        for wrong, sign in ((known & ~present & predicted, -1), (known & present & ~predicted, 1)):
            own = np.flatnonzero(wrong)
            own = own[np.argsort(sign * probs[own, a], kind="stable")]
            sides.append([(int(rows[i]), float(probs[i, a])) for i in own])
        worst = [side[:MOST_LISTED] for side in sides]
        found.append(Mistakes(attributes[a], *worst, (len(sides[0]), len(sides[1]))))
    return found
