import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from aimonk.data.annotations import ABSENT, PRESENT, Annotations, Value
from aimonk.evaluation.agreement import MOST_LABELS
from aimonk.evaluation.annotator_errors import Labels, count_positives, estimate_errors
from aimonk.evaluation.label_noise import best_scores, chance_of, combine_counts, limit_of_scores


def annotate(shares: np.ndarray, count: int, rng: np.random.Generator) -> Annotations:
    """`count` labels of each image, drawn with its share of positives."""
    codes = (rng.random((len(shares), count)) < shares[:, None]).astype(np.uint8).reshape(-1, 1)
    names = [f"{i}.jpg" for i in range(len(shares))]
    images = np.repeat(np.arange(len(shares)), count)
    return Annotations(names, ["hat"], [Value("0", ABSENT), Value("1", PRESENT)], codes, images, images)


@pytest.mark.parametrize("repeated", ["majority", "merge"])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("kind", ["difficulty", "slips"])
def test_ceiling_encloses_the_score_of_the_true_shares(kind: str, count: int, repeated: str) -> None:
    rng = np.random.default_rng(0)
    shares = rng.beta(0.3, 0.7, 4000)
    if kind == "slips":
        shares = np.where(rng.random(4000) < 0.3, 0.93, 0.07)
    found, sentence = limit_of_scores(annotate(shares, count, rng), ["hat"], repeated, seed=0)
    positives = rng.binomial(count, np.tile(shares, 25))
    known = positives % count == 0 if repeated == "merge" else 2 * positives != count
    labels, scores = (2 * positives > count)[known], np.tile(shares, 25)[known]
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-9)).max()
    # the sampling error of 4,000 images
    for key, value in (("ceiling_ap", average_precision_score(labels, scores)), ("ceiling_f1", f1)):
        low, high = found["hat"][key]
        assert low - 0.01 < value < high + 0.01, key
        nearest = min(abs(low - value), abs(high - value))
        assert nearest < 0.01, "one of the two distributions is the true one"
    assert sentence.startswith("annotators disagree") and "hat" in sentence


def test_annotators_of_different_quality() -> None:
    rng = np.random.default_rng(0)
    truth, errors = rng.random(3000) < 0.3, np.array([0.02, 0.05, 0.25])
    wrong = rng.random((3000, 3)) < errors
    labels = truth[:, None] ^ wrong
    known = Labels(labels.ravel(), np.repeat(np.arange(3000), 3), np.tile(np.arange(3), 3000))
    found, posterior = estimate_errors(known)
    np.testing.assert_allclose(found, errors, atol=0.015)
    assert ((posterior > 0.5) == truth).mean() > 0.98
    images = np.repeat(np.arange(3000), 3)
    annotations = Annotations(
        [f"{i}.jpg" for i in range(3000)],
        ["hat"],
        [Value("0", ABSENT), Value("1", PRESENT)],
        labels.astype(np.uint8).reshape(-1, 1),
        images,
        images,
        annotators=["anna", "ben", "carl"] * 3000,
    )
    limits = limit_of_scores(annotations, ["hat"], "majority", 0)[0]["hat"]
    assert limits["ceiling_f1"][1] == pytest.approx(f1_score(labels.sum(axis=1) > 1, truth), abs=0.01)


def test_counts_of_positive_labels_by_hand() -> None:
    labels = Labels(np.empty(0), np.array([0, 0, 0, 1]), np.empty(0))
    found = count_positives(labels, np.array([0.9, 0.5, 0.2, 0.4]))
    two = 0.9 * 0.5 * 0.8 + 0.9 * 0.5 * 0.2 + 0.1 * 0.5 * 0.2
    np.testing.assert_allclose(found[:, 2], [two, 0])
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found[1], [0.6, 0.4, 0, 0])


def test_chance_of_a_majority_by_hand() -> None:
    shares = np.array([0.0, 0.123456, 0.5, 1.0])
    np.testing.assert_allclose(chance_of(shares, 3, "majority"), 3 * shares**2 - 2 * shares**3, atol=1e-5)
    np.testing.assert_allclose(chance_of(shares, 2, "soft"), shares**2, atol=1e-5)  # a tie is unknown
    np.testing.assert_allclose(chance_of(shares, 3, "merge"), shares**3)
    assert chance_of(np.array([0.5]), MOST_LABELS, "majority")[0] == pytest.approx(0.5)


def test_thousands_of_labels_of_an_image() -> None:
    found, sentence = limit_of_scores(
        annotate(np.array([0.9, 0.1, 0.9]), 3000, np.random.default_rng(0)), ["hat"], "majority", 0
    )
    assert found["hat"]["ceiling_f1"][1] == pytest.approx(1, abs=1e-3) and "hat" in sentence


def test_combined_labels_by_hand() -> None:
    chances, number = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.5, 0.25, 0]]), np.array([3, 2])
    positive, negative = combine_counts(chances, number, "majority")  # a tie is unknown
    np.testing.assert_allclose((positive, negative), [[0.7, 0.25], [0.3, 0.25]])
    positive, negative = combine_counts(chances, number, "merge")
    np.testing.assert_allclose((positive, negative), [[0.4, 0.25], [0.1, 0.25]])


def test_best_scores_by_hand() -> None:
    assert best_scores(np.array([3.0, 0.0]), np.array([0.0, 5.0])) == (1.0, 1.0)
    ap, f1 = best_scores(np.array([3.0, 1.0]), np.array([1.0, 5.0]))
    assert ap == pytest.approx(3 / 4 * 3 / 4 + 1 / 4 * 4 / 10) and f1 == pytest.approx(2 * 3 / (4 + 4))


def test_no_ceiling_where_all_agree() -> None:
    rng = np.random.default_rng(0)
    found, sentence = limit_of_scores(annotate(np.array([0.0, 1.0] * 10), 2, rng), ["hat"], "merge", 0)
    assert sentence == "" and found["hat"]["ceiling_ap"] == pytest.approx([1, 1], abs=1e-3)
    assert limit_of_scores(None, ["hat"], "merge", 0) == ({}, "")
