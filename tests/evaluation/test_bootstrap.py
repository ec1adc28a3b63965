"""Bootstrap intervals: groups, degenerate samples, and coverage."""

from math import erf

import numpy as np
import pytest

from aimonk.evaluation.bootstrap import add_intervals, bootstrap, draw
from aimonk.evaluation.metrics import score


def test_groups_are_drawn_together_and_seeds_repeat():
    groups = np.array([0, 1, 0, 2, 1])
    weights = np.concatenate(list(draw(groups, 300, seed=4)), axis=1)
    assert weights.shape == (5, 300)
    assert (weights[0] == weights[2]).all() and (weights[1] == weights[4]).all()
    assert (weights[[0, 1, 3]].sum(axis=0) == 3).all()
    np.testing.assert_array_equal(weights, np.concatenate(list(draw(groups, 300, seed=4)), axis=1))


def test_grouped_copies_do_not_narrow_intervals():
    rng = np.random.default_rng(0)
    labels = rng.random((60, 2)) < 0.4
    probs = np.clip(0.3 * labels + 0.7 * rng.random((60, 2)), 0, 1)
    known, thresholds = np.ones((60, 2), dtype=bool), np.full(2, 0.5)
    once = bootstrap(labels, known, probs, thresholds)
    four_times = tuple(np.repeat(x, 4, axis=0) for x in (labels, known, probs))
    together = bootstrap(*four_times, thresholds, groups=np.repeat(np.arange(60), 4))
    apart = bootstrap(*four_times, thresholds)
    for name in ("mean_auroc", "f1_macro", "mean_brier"):
        width = {
            key: x[name][1] - x[name][0]
            for key, x in (("once", once), ("together", together), ("apart", apart))
        }
        assert width["together"] == pytest.approx(width["once"], rel=0.02)
        assert width["apart"] == pytest.approx(width["once"] / 2, rel=0.15)


def test_perfect_score_of_few_images_has_a_wide_interval():
    labels = np.array([[1], [1], [1], [0], [0], [0]])
    scores = bootstrap(labels, labels >= 0, labels.astype(float), np.array([0.5]))
    assert scores["mean_auroc"][0] < 0.8
    assert scores["attributes"][0]["recall"][0] < 0.5
    # the variance over positives is undefined with one positive group
    alone = bootstrap(labels[2:], labels[2:] >= 0, labels[2:].astype(float), np.array([0.5]))
    assert alone["attributes"][0]["auroc"] is None


def test_beats_chance_requires_the_interval_above_half():
    rng = np.random.default_rng(1)
    labels = rng.random((200, 2)) < 0.5
    probs = rng.random((200, 2))
    probs[:, 0] = 0.5 * labels[:, 0] + 0.5 * probs[:, 0]
    known, thresholds = np.ones((200, 2), dtype=bool), np.full(2, 0.5)
    scores = score(labels, known, probs, thresholds, ["learned", "noise"])
    intervals = bootstrap(labels, known, probs, thresholds)
    full = add_intervals(scores, intervals, [0.001, 0.001])
    assert full["beats_chance"] is True
    assert [entry["beats_chance"] for entry in full["attributes"].values()] == [True, False]
    corrected = add_intervals(scores, intervals, [0.06, None])["attributes"]
    assert [entry["beats_chance"] for entry in corrected.values()] == [False, False]
    assert "interval" not in scores


@pytest.mark.parametrize(
    ("images", "prevalence", "na", "shift"), [(200, 0.3, 0.5, 1.0), (300, 0.08, 0.0, 2.5)]
)
def test_intervals_cover_the_truth(images, prevalence, na, shift):
    """A short run of benchmarks/bootstrap_coverage.py; the bounds allow for the noise of 100 sets."""
    rng = np.random.default_rng(5)
    auroc, sets, hits = 0.5 * (1 + erf(shift / 2)), 100, {"mean_auroc": 0, "auroc": 0}
    for number in range(sets):
        labels = rng.random((images, 2)) < prevalence
        mask = rng.random((images, 2)) >= na
        probs = 1 / (1 + np.exp(-rng.normal(size=(images, 2)) - shift * labels))
        intervals = bootstrap(labels, mask, probs, np.full(2, 0.5), resamples=200, seed=number)
        low, high = intervals["mean_auroc"]
        hits["mean_auroc"] += low <= auroc <= high
        hits["auroc"] += sum(x["auroc"][0] <= auroc <= x["auroc"][1] for x in intervals["attributes"]) / 2
    for count in hits.values():
        assert 0.89 <= count / sets <= 1.0


@pytest.mark.parametrize("shift", [0.0, 1.2])
def test_mean_ap_of_rare_attributes_is_inside_an_interval_that_covers_its_expectation(shift):
    """25 attributes, eight with 1 to 4 positives of 300; a short run of benchmarks/bootstrap_coverage.py."""
    rng = np.random.default_rng(3)
    counts = np.round(np.geomspace(1, 100, 25)).astype(int)
    known, thresholds = np.ones((300, 25), dtype=bool), np.full(25, 0.5)
    means, limits = [], []
    for number in range(60):
        labels = rng.permuted(np.arange(300)[:, None] < counts, axis=0)
        probs = 1 / (1 + np.exp(-rng.normal(size=labels.shape) - shift * labels))
        means.append(score(labels, known, probs, thresholds, [str(a) for a in range(25)])["mean_ap"])
        limits.append(bootstrap(labels, known, probs, thresholds, resamples=100, seed=number)["mean_ap"])
    truth, (low, high) = np.mean(means), np.array(limits).T
    assert ((low <= truth) & (truth <= high)).mean() >= 0.88
    assert (low + 1e-6 < means).all() and (means < high - 1e-6).all()
