"""Causes of missing labels, found on drawn data that hide labels in known ways."""

import json
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from aimonk.auditing import missingness
from aimonk.auditing.expected_share import Shares
from aimonk.auditing.missingness import choose_policy, describe_cause, find_cause, recommend

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark():
    spec = util.spec_from_file_location("missingness_benchmark", ROOT / "benchmarks" / "missingness.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("random", "random"),
        ("rows", "random"),
        ("values", "values"),
        ("positives", "one value"),
        ("attribute", "attributes"),
        ("image", "image"),
    ],
)
def test_cause_and_policy_are_found(benchmark, kind, cause):
    rng = np.random.default_rng(3)
    draws = [benchmark.draw_set(600, 4, rng) for _ in range(4)]
    right, fitting, causes = benchmark.measure(kind, draws, 0)
    assert right == 1 and fitting >= 12 / 16
    assert causes[cause] >= 13


def test_labels_that_cannot_be_learned_are_not_judged(benchmark):
    rng = np.random.default_rng(4)
    features, labels = benchmark.draw_set(120, 0, rng)
    found = benchmark.explain(features, labels, benchmark.hide("values", features, labels, rng), 0)
    assert found["policy"] == "ignore"
    assert found["sentence"].startswith("no evidence that the labels can be learned")
    assert {entry["cause"] for entry in found["attributes"].values()} == {"undetermined"}
    json.dumps(found)


def test_known_attributes_are_left_out(benchmark):
    features, labels = benchmark.draw_set(120, 4, np.random.default_rng(5))
    mask = np.ones(labels.shape, dtype=bool)
    assert benchmark.explain(features, labels, mask, 0) is None
    mask[::2, 1], mask[:, 2] = False, False
    found = benchmark.explain(features, labels, mask, 0)
    assert list(found["attributes"]) == ["attribute 1", "attribute 2"]
    assert found["attributes"]["attribute 2"]["sentence"] == "attribute 2: no entry is known"
    assert found["policy"] == "ignore" and "fits 1 of 1 attribute with NA" in found["sentence"]


@pytest.mark.parametrize(("plausible", "cause"), [(True, "values"), (False, "image")])
def test_scores_that_predict_na_decide_on_the_value(benchmark, monkeypatch, plausible, cause):
    rng = np.random.default_rng(6)
    features, labels = benchmark.draw_set(300, 4, rng)
    mask = np.ones(labels.shape, dtype=bool)
    mask[:, 0] = labels[:, 0] + rng.normal(size=300) > 0.5
    answers = iter([Shares(0.9, 0.0, [0.0, 0.1], True), Shares(0.9, 0.0, [0.0, 0.2], plausible)])
    monkeypatch.setattr(missingness, "expected_share", lambda *arguments: next(answers))
    (entry,) = benchmark.explain(features, labels, mask, 0)["attributes"].values()
    assert entry["interval"] == [0.0, 0.1], "the narrower of two"
    assert entry["cause"] == cause


def figures(**values) -> dict:
    entry = dict.fromkeys(
        ["interval", "p_adjusted", "given", "phi", "image_p_adjusted", "image_auroc", "image_correlation"]
    )
    entry |= {"unknown": 431, "values": [0, 1], "known_share": 0.9, "expected_share": 0.12}
    return entry | {"interval": [0.08, 0.16], "correlation": 0.8, "evidence": True} | values


@pytest.mark.parametrize(
    ("values", "is_value", "cause"),
    [
        ({}, True, "values"),
        ({}, False, "random"),
        ({"evidence": False}, False, "undetermined"),
        ({"values": []}, False, "never known"),
        ({"values": [1]}, False, "one value"),
        ({"given": "coat", "phi": -0.5}, True, "values"),
        ({"given": "coat", "phi": -0.9}, True, "attributes"),
        ({"given": "coat", "phi": -0.5, "image_correlation": 0.4}, False, "attributes"),
        ({"given": "coat", "phi": -0.3, "image_correlation": 0.4}, False, "image"),
        ({"image_correlation": 0.9}, True, "image"),
    ],
)
def test_strongest_correlation_is_the_cause(values, is_value, cause):
    assert find_cause(figures(**values), is_value) == cause


@pytest.mark.parametrize(
    ("values", "policy"),
    [
        ({"cause": "values"}, "weak"),
        ({"cause": "values", "expected_share": 0.23}, "ignore"),
        ({"cause": "random"}, "ignore"),
        ({"cause": "one value", "values": [1], "image_p_adjusted": 0.01}, "weak"),
        ({"cause": "one value", "values": [1]}, "weak"),
        ({"cause": "one value", "values": [1], "image_p_adjusted": 0.5}, "ignore"),
        ({"cause": "one value", "values": [0], "image_p_adjusted": 0.01}, "ignore"),
    ],
)
def test_na_counts_as_absent_where_few_are_expected(values, policy):
    assert choose_policy(figures(**values)) == policy


def test_sentences_have_the_figures():
    p = {"p_adjusted": 1e-9}
    shares = "90% of the known entries are positive, and 12% [8%, 16%] of the 431 unknown ones are expected"
    image = {"image_p_adjusted": 0.012, "image_auroc": 0.81, "image_correlation": 0.5}
    for values, expected in (
        ({"cause": "values", "policy": "weak"} | p, f"{shares} to be (corrected p < 0.001): missing=weak"),
        (
            {"cause": "attributes", "policy": "ignore", "given": "coat", "phi": 0.5},
            f"NA depends on coat (phi +0.50); {shares} to be: missing=ignore",
        ),
        (
            {"cause": "image", "policy": "ignore", "expected_share": None} | image,
            "NA depends on the image (AUROC 0.81, corrected p 0.012); 90% of the known entries are positive: "
            "missing=ignore",
        ),
        (
            {"cause": "one value", "policy": "weak", "values": [1]} | image,
            "only 1 is known, and a model of the known entries learns to predict always 1; the features "
            "distinguish it from NA (AUROC 0.81): missing=weak or missing=selective",
        ),
        (
            {"cause": "one value", "policy": "ignore", "values": [0]},
            "only 0 is known, and a model of the known entries learns to predict always 0: missing=ignore",
        ),
    ):
        assert describe_cause("hat", figures(**values)) == f"hat: {expected}"


def test_policy_of_most_unknown_entries_is_recommended():
    few = figures(cause="random", policy="ignore", unknown=10)
    many = figures(cause="values", policy="weak", unknown=90)
    assert recommend({"hat": few, "coat": many}) == {
        "policy": "weak",
        "sentence": "missing=weak fits 1 of 2 attributes with NA, and 90% of the unknown entries",
    }
    assert recommend({"hat": few, "coat": many | {"policy": "ignore"}})["policy"] == "ignore"
    never = figures(cause="never known", policy="ignore", values=[], unknown=900)
    assert recommend({"hat": never, "coat": many})["policy"] == "weak"


@pytest.mark.parametrize("rows", [2, 3, 12])
def test_a_few_images_and_constant_features_end_without_a_claim(benchmark, rows):
    labels = (np.arange(rows)[:, None] + np.arange(3)) % 2.0
    mask = np.ones(labels.shape, dtype=bool)
    mask[0, 0], mask[1, 1], mask[:, 2] = False, False, False
    for features in (np.random.default_rng(0).normal(size=(rows, 5)), np.full((rows, 5), 0.1)):
        found = benchmark.explain(features.astype(np.float32), labels, mask, 0)
        assert found["policy"] == "ignore" and len(found["attributes"]) == 3


def test_a_few_known_positives_among_many_images_are_enough(benchmark):
    rng = np.random.default_rng(7)
    features, labels = benchmark.draw_set(10_000, 4, rng)
    mask = (labels == 1) & (rng.random(labels.shape) < [0.02, 0.02, 0.02, 1.0])
    found = benchmark.explain(features, labels, mask, 0)["attributes"]
    assert [found[f"attribute {a}"]["policy"] for a in range(3)] == ["weak"] * 3
    assert found["attribute 3"]["values"] == [1]
