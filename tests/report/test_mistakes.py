import numpy as np

from aimonk.report.mistakes import worst_mistakes


def test_worst_mistakes_come_first() -> None:
    labels = np.array([[0], [0], [0], [1], [1], [0], [1]])
    mask = np.array([[1], [1], [1], [1], [1], [0], [1]], dtype=bool)
    probs = np.array([[0.6], [0.9], [0.1], [0.4], [0.2], [0.99], [0.8]])
    rows = np.arange(7) + 10
    (found,) = worst_mistakes(labels, mask, probs, probs >= 0.5, ["hat"], [0], rows)
    assert found.attribute == "hat" and found.counts == (2, 2)
    assert found.false_positives == [(11, 0.9), (10, 0.6)]
    assert found.false_negatives == [(14, 0.2), (13, 0.4)]
