"""Evaluation on the images that choose thresholds and calibration, and the verdict."""

import numpy as np
import pytest

from aimonk.data.labels import LabelTable
from aimonk.data.splits import stratified_folds
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.evaluate import (
    LabelledLogits,
    OperatingPoint,
    choose_operating_point,
    evaluate,
    evaluate_chosen,
    not_above_chance,
    verdict,
)
from aimonk.evaluation.significance import holm, rank_test


@pytest.mark.parametrize("rule", [0.5, "f1"])
def test_calibration_is_fitted_on_the_other_folds(rule):
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 2)) < 0.4).astype(np.float32)
    table = LabelTable([f"{i}.jpg" for i in range(60)], ["hat", "coat"], labels, labels >= 0)
    data = LabelledLogits(table, 3 * labels + rng.normal(size=labels.shape), np.arange(60) // 2)
    found = evaluate_chosen(data, choose_operating_point(data, rule, "platt"), rule, "platt", seed=1)
    fold = stratified_folds(labels, table.mask, 5, data.groups, 1)
    for k in range(5):
        fitted = Calibration.fit(data.logits[fold != k], labels[fold != k], table.mask[fold != k])
        np.testing.assert_array_equal(found.probs[fold == k], fitted.apply(data.logits[fold == k]))
    assert set(found.scores["optimistic"]) == {"f1_macro", "f1_micro", "mean_brier", "mean_ece"}


@pytest.mark.parametrize(
    ("beaten", "sentence"),
    [
        ([False, False, False], "no attribute is predicted better than chance"),
        ([True, True, True], "all attributes are predicted better than chance"),
        ([True, False, True], "2 of 3 attributes are predicted better than chance"),
        ([False, True, False], "1 of 3 attributes is predicted better than chance"),
    ],
)
def test_verdict(beaten, sentence):
    attributes = {name: {"beats_chance": value} for name, value in zip("abc", beaten, strict=True)}
    scores = {"attributes": attributes, "mean_ap": 0.5, "chance": {"mean_ap": 0.25}}
    assert verdict(scores) == f"{sentence} (mean AP 0.500, chance 0.250)"
    assert verdict(scores | {"mean_ap": None}) == sentence
    assert not_above_chance(scores) == [name for name, value in zip("abc", beaten, strict=True) if not value]


def test_verdicts_are_corrected_for_the_number_of_attributes():
    rng = np.random.default_rng(2)
    labels = (rng.random((80, 20)) < 0.4).astype(np.float32)
    logits = 0.6 * labels + rng.normal(size=labels.shape)
    table = LabelTable([f"{i}.jpg" for i in range(80)], [f"a{i}" for i in range(20)], labels, labels >= 0)
    entries = evaluate(LabelledLogits(table, logits, None), _half(20), 0).scores["attributes"].values()
    single = [entry["interval"]["auroc"][0] > 0.5 for entry in entries]
    corrected = [entry["beats_chance"] for entry in entries]
    assert 0 < sum(corrected) < sum(single)
    expected = holm(rank_test(labels, labels >= 0, logits, None))
    assert [entry["p_adjusted"] for entry in entries] == pytest.approx(expected)


def _half(count: int) -> OperatingPoint:
    return OperatingPoint(Calibration.identity(count), np.full(count, 0.5))
