"""Ranges of scores over the values of NA, and when they are reported."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from aimonk.data.labels import LabelTable
from aimonk.evaluation import missing_range
from aimonk.evaluation.association import Dependence, strongest_dependence
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.evaluate import LabelledLogits, OperatingPoint, evaluate
from aimonk.evaluation.kernels import Predictions
from aimonk.evaluation.missing_range import add_ranges, find_dependent, read_missing
from aimonk.evaluation.significance import rank_test

NAMES = ["hat", "coat", "shoe"]


def column(labels: list, mask: list, probs: list) -> Predictions:
    labels, mask, probs = (np.array(x)[:, None] for x in (labels, mask, probs))
    return Predictions(labels == 1, mask == 1, probs, probs >= 0.5)


def test_readings_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, mask = rng.integers(0, 2, 50), rng.integers(0, 2, 50)
    probs, calibrated = rng.random(50), rng.random(50)
    found = read_missing(column(labels * mask, mask, probs), calibrated, np.random.default_rng(1))
    draws = np.random.default_rng(1).random(((mask == 0).sum(), missing_range.DRAWS))
    readings = [labels * mask]
    for draw in draws.T:
        readings.append((labels * mask).copy())
        readings[-1][mask == 0] = draw < calibrated[mask == 0]
    for name, metric, predicted in (
        ("ap", average_precision_score, probs),
        ("auroc", roc_auc_score, probs),
        ("f1", f1_score, probs >= 0.5),
    ):
        values = [metric(reading, predicted) for reading in readings]
        assert found[name] == pytest.approx([values[0], np.mean(values[1:])]), name


def test_certain_probabilities_are_the_values() -> None:
    # the two NA are the second and the last of four in the order
    case = column([1, 0, 0, 0], [1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])
    found = read_missing(case, np.array([0.0, 1.0, 0.0, 0.0]), np.random.default_rng(0))
    assert found["ap"] == pytest.approx([1, 1])
    assert found["f1"] == pytest.approx([0.5, 0.8])
    found = read_missing(case, np.array([0.0, 0.0, 0.0, 1.0]), np.random.default_rng(0))
    assert found["ap"] == pytest.approx([1, (1 + 1 / 2) / 2])
    assert found["auroc"] == pytest.approx([1, 0.5])


def drawn(rng: np.random.Generator, rows: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, [N, 3], of which the first two are associated, predictions, and uniform numbers."""
    logits = rng.normal(size=(rows, 3)) * 2
    logits[:, 1] = 0.7 * logits[:, 0] + 0.7 * logits[:, 1]
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(1 - logits))).astype(np.float32)
    return labels, 1 / (1 + np.exp(-logits)), rng.random(logits.shape)


def claims(hide, draws: int = 300) -> list[int]:
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        labels, probs, uniform = drawn(rng)
        mask = hide(labels, uniform)
        dependence = strongest_dependence(labels, mask)
        found.append(len(find_dependent(mask, probs, NAMES, dependence, None, False)))
    return found


@pytest.mark.parametrize(
    "hide",
    [
        lambda labels, uniform: uniform < 0.5,
        lambda labels, uniform: np.repeat(uniform[:, :1] < 0.7, 3, axis=1),
        lambda labels, uniform: uniform < [0.2, 0.5, 0.9],
    ],
    ids=["half", "rows", "shares"],
)
def test_random_na_is_called_dependent_in_5_percent(hide) -> None:
    # with 5 %, more than 26 of 300 have a probability of .002
    assert np.count_nonzero(claims(hide)) <= 26


@pytest.mark.parametrize(
    ("hide", "least"),
    [
        (lambda labels, uniform: uniform > np.where(labels == 1, 0.1, 0.8), 2.5),
        (lambda labels, uniform: uniform > np.where(np.roll(labels, 1, axis=1) == 1, 0.8, 0.2), 2.5),
    ],
    ids=["values", "attribute"],
)
def test_dependent_na_is_found(hide, least) -> None:
    assert np.mean(claims(hide, 30)) >= least


def test_reason_is_the_prediction_or_the_other_attribute() -> None:
    rng = np.random.default_rng(1)
    _, probs, uniform = drawn(rng)
    mask = uniform > 0.3
    mask[:, 0] = uniform[:, 0] > np.where(probs[:, 0] > 0.5, 0.9, 0.1)
    dependence = [Dependence(1, 0.9, 0.0), None, Dependence(1, -0.5, 0.02)]
    found = find_dependent(mask, probs, NAMES, dependence, None, False)
    p = 2 * 3 * rank_test(~mask, np.ones_like(mask), probs, None)[0]
    assert found == {
        0: {"given": None, "p_adjusted": pytest.approx(p, abs=0)},
        2: {"given": "coat", "p_adjusted": 0.04},
    }
    # known labels of images that the model was trained on change its predictions
    found = find_dependent(mask, probs, NAMES, dependence, None, True)
    assert found[0] == {"given": "coat", "p_adjusted": 0.0}
    mask[:, 2] = True
    assert 2 not in find_dependent(mask, probs, NAMES, dependence, None, False), "nothing to read"


def test_copies_are_one_image() -> None:
    mask = np.arange(40)[:, None] < 20
    probs = 0.5 + 0.1 * mask + 0.001 * np.arange(40)[:, None]
    assert find_dependent(mask, probs, ["hat"], [None], None, False)
    assert not find_dependent(mask, probs, ["hat"], [None], np.arange(40) // 10, False)


def data(hide: bool) -> LabelledLogits:
    labels, probs, uniform = drawn(np.random.default_rng(2))
    mask = np.ones(labels.shape, dtype=bool)
    if hide:
        mask[:, 0] = uniform[:, 0] > np.where(labels[:, 0] == 1, 0.1, 0.8)
    table = LabelTable([f"{i}.jpg" for i in range(len(labels))], NAMES, labels * mask, mask)
    return LabelledLogits(table, np.log(probs / (1 - probs)), None)


def half() -> OperatingPoint:
    return OperatingPoint(Calibration.identity(3), np.full(3, 0.5))


def test_scores_have_ranges_where_na_is_dependent() -> None:
    full = evaluate(data(False), half(), 0).scores
    assert "range" not in full and not any("range" in entry for entry in full["attributes"].values())
    given = data(True)
    scores = evaluate(given, half(), 0).scores
    hat, *others = scores["attributes"].values()
    assert hat["na_depends_on"]["given"] is None and not any("range" in entry for entry in others)
    absent = average_precision_score(given.table.labels[:, 0], given.logits[:, 0])
    assert absent in [pytest.approx(end) for end in hat["range"]["ap"]]
    assert hat["range"]["ap"][0] < hat["range"]["ap"][1]
    for mean, name in (("mean_ap", "ap"), ("mean_auroc", "auroc"), ("f1_macro", "f1")):
        rest = sum(entry[name] for entry in others)
        expected = [(end + rest) / 3 for end in hat["range"][name]]
        assert scores["range"][mean] == pytest.approx(expected)


def test_range_does_not_depend_on_other_attributes() -> None:
    given = data(True)
    both = evaluate(given, half(), 0).scores["attributes"]["hat"]["range"]
    alone = LabelledLogits(given.table.select(["hat"]), given.logits[:, :1], None)
    point = OperatingPoint(Calibration.identity(1), np.full(1, 0.5))
    assert evaluate(alone, point, 0).scores["attributes"]["hat"]["range"] == both


def test_attribute_with_one_known_value_has_a_range_but_no_score() -> None:
    given = data(True)
    given.table.mask[:, 0] &= given.table.labels[:, 0] == 1
    scores = evaluate(given, half(), 0).scores
    hat = scores["attributes"]["hat"]
    assert hat["ap"] is None and 0 < hat["range"]["ap"][0] < 1
    rest = [scores["attributes"][name]["ap"] for name in NAMES[1:]]
    assert scores["range"]["mean_ap"] == pytest.approx([np.mean(rest)] * 2)


def test_nothing_is_added_without_dependence() -> None:
    scores = {"attributes": {}}
    assert add_ranges(scores, *[np.zeros((0, 0))] * 5, {}, 0) is scores


def test_dependence_of_more_images_replaces_that_of_the_evaluated_ones() -> None:
    given = data(False)
    given.table.mask[::3, 2] = False
    assert "range" not in evaluate(given, half(), 0).scores
    known = replace(given, dependence=[None, None, Dependence(0, 0.5, 0.001)])
    shoe = evaluate(known, half(), 0).scores["attributes"]["shoe"]
    assert shoe["na_depends_on"] == {"given": "hat", "p_adjusted": 0.002}
