import numpy as np
import pytest

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Annotations, Value
from aimonk.evaluation.agreement import MOST_PAIRS, alpha_of, compare_annotators, describe_agreement, f1_of

# two observers of ten articles (Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section A)
MEG = "0100000010"
OWEN = "1110010000"


def annotate(**labels: str) -> Annotations:
    """One attribute; a character per image of each annotator, `-` where it is unknown."""
    codes = [[("0", "1", "-").index(c)] for own in labels.values() for c in own]
    images = [i for own in labels.values() for i in range(len(own))]
    legend = [Value("0", ABSENT), Value("1", PRESENT), Value("NA", UNKNOWN)]
    return Annotations(
        [f"{i}.jpg" for i in range(max(map(len, labels.values())))],
        ["hat"],
        legend,
        np.array(codes, np.uint8),
        np.array(images),
        list(range(len(codes))),
        annotators=[name for name, own in labels.items() for _ in own],
    )


def test_alpha_of_a_published_example() -> None:
    found = describe_agreement(annotate(meg=MEG, owen=OWEN), seed=0)["attributes"]["hat"]
    assert found["alpha"] == pytest.approx(0.095, abs=5e-4)
    assert (found["images"], found["different"]) == (10, 4)
    low, high = found["alpha_interval"]
    assert low < 0.095 < high and low > -1 and high < 1


def test_f1_of_an_annotator_by_hand() -> None:
    # 1 image 11, 3 images 10, 1 image 01: each label against the other one
    found = describe_agreement(annotate(meg=MEG, owen=OWEN), seed=0)["attributes"]["hat"]
    assert found["annotator_f1"] == pytest.approx(2 * 2 / (2 * 2 + 4 + 4))
    # of three labels 1 1 0, the others tie for each 1, and are 1 for the 0
    assert f1_of(np.array([[2], [1]]), np.array([[1]]))[0] == 0


def test_alpha_with_several_annotators_and_unknown_labels() -> None:
    # images with 2 of 3, 1 of 2 and 1 of 1 positive labels; the last one has no pair
    found = alpha_of(np.array([[2, 1, 0], [1, 1, 3]]), np.array([[1, 1, 1]]))[0]
    # sum over images of 2pa/(m-1): 2 + 2 + 0; 8 labels of which 3 positive: expected 2 * 3 * 5 / 7
    assert found == pytest.approx(1 - 4 / (30 / 7))
    one = describe_agreement(annotate(a="1-", b="0-", c="-1"), seed=0)["attributes"]["hat"]
    assert (one["images"], one["different"]) == (1, 1)


def test_equal_labels_have_no_alpha() -> None:
    found = describe_agreement(annotate(a="111", b="111"), seed=0)["attributes"]["hat"]
    assert (found["alpha"], found["alpha_interval"], found["annotator_f1"]) == (None, None, 1.0)


def test_pairs_of_annotators() -> None:
    pairs = compare_annotators(annotate(a="1100", b="1010", c="11--"))
    assert [pair["annotators"] for pair in pairs] == [["a", "b"], ["b", "c"], ["a", "c"]]
    first = pairs[0]
    assert (first["compared"], first["different"], first["attributes"]) == (4, 2, {"hat": 2})
    assert first["by_chance"] == pytest.approx(4 * 2 * 0.6 * 0.4, abs=0.06)
    assert pairs[2]["different"] == 0 and pairs[2]["attributes"] == {}


def test_an_image_of_thousands_of_annotators() -> None:
    crowd = {f"w{i:04d}": "10"[i % 2] for i in range(3000)}
    pairs = compare_annotators(annotate(anna="11", ben="10", **crowd))
    assert len(pairs) == MOST_PAIRS
    assert pairs[0]["annotators"] == ["anna", "ben"] and pairs[0]["compared"] == 2
    assert all(pair["different"] == 1 == sum(pair["attributes"].values()) for pair in pairs)


def test_two_labels_of_one_annotator_are_no_pair() -> None:
    annotations = annotate(a="110", b="100", c="110")
    again = Annotations(**vars(annotations) | {"annotators": ["a"] * 3 + ["b"] * 3 + ["a"] * 3})
    assert [pair["annotators"] for pair in compare_annotators(again)] == [["a", "b"]]


def test_unnamed_annotators_are_not_compared() -> None:
    annotations = annotate(a="11", b="10")
    assert compare_annotators(Annotations(**vars(annotations) | {"annotators": None})) == []
