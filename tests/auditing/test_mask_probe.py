"""Tests of NA against the features."""

import numpy as np
import pytest

from aimonk.auditing import mask_probe
from aimonk.auditing.mask_probe import predict_mask, probe_mask, rescale, sample_rows
from aimonk.auditing.ridge import Ridge, assign_folds, principal_components
from aimonk.runtime.progress import unwatched


def data(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, 20))
    return features, rng.random((rows, 3)) < 0.5


def test_na_that_follows_the_features_is_found():
    features, unknown = data()
    unknown[:, 1] = features[:, 0] > 0
    found = probe_mask(features, unknown, 1, 0, unwatched)
    assert found[1].rows.tolist() == list(range(200))
    assert found[1].p_value == pytest.approx(0.003) and found[1].auroc > 0.9
    assert found[1].correlation == pytest.approx(np.corrcoef(found[1].scores, unknown[:, 1])[0, 1])
    assert all(found[a].p_value > 0.05 and found[a].scores is None for a in (0, 2))


def test_p_values_count_distinct_columns_and_tests():
    features, unknown = data()
    unknown[:] = (features[:, 0] > 0)[:, None]
    found = probe_mask(features, unknown, 3, 0, unwatched)
    assert [result.p_value for result in found] == pytest.approx([0.003] * 3)
    assert found[0].scores is found[2].scores


def test_constant_columns_are_no_evidence():
    features, unknown = data(40)
    unknown[:, 0], unknown[:, 1] = True, False
    unknown[:, 2] = np.arange(40) == 3
    found = probe_mask(features, unknown, 1, 0, unwatched)
    assert all(result.p_value == 1 and result.scores is None for result in found)


def test_constant_features_predict_nothing():
    features, unknown = data(40)
    found = probe_mask(np.full_like(features, 0.1) + 0.2, unknown, 1, 0, unwatched)
    assert all(result.p_value == 1 for result in found)


def test_images_and_columns_are_bounded(monkeypatch):
    monkeypatch.setattr(mask_probe, "MOST_IMAGES", 100)
    monkeypatch.setattr(mask_probe, "MOST_COLUMNS", 2)
    features, unknown = data()
    unknown[:, 0] = np.arange(200) < 20
    unknown[:, 1] = features[:, 0] > 0
    found = probe_mask(features, unknown, 1, 0, unwatched)
    assert [result.p_value is None for result in found] == [True, False, False]
    assert len(set(found[1].rows.tolist())) == 100 and unknown[found[1].rows, 1].sum() == 50


def test_sample_keeps_rare_entries(monkeypatch):
    monkeypatch.setattr(mask_probe, "MOST_IMAGES", 100)
    for unknown in (np.arange(1000) < 30, np.arange(1000) >= 30):
        rows = sample_rows(unknown, np.random.default_rng(0))
        assert len(rows) == 100 and rows[:30].tolist() == list(range(30))
    assert sample_rows(np.arange(90) < 2, np.random.default_rng(0)).tolist() == list(range(90))


def test_correlation_is_rescaled_to_the_share_of_na():
    rng = np.random.default_rng(1)
    unknown = rng.random(200_000) < 0.1
    scores = rng.normal(size=200_000) + 1.5 * unknown
    rows = np.concatenate([np.flatnonzero(unknown), np.flatnonzero(~unknown)[: unknown.sum()]])
    balanced, expected = np.corrcoef(scores[rows], unknown[rows])[0, 1], np.corrcoef(scores, unknown)[0, 1]
    assert rescale(balanced, 0.5, unknown.mean()) == pytest.approx(expected, abs=0.01)
    assert balanced > expected + 0.1
    assert rescale(-0.4, 0.3, 0.3) == pytest.approx(-0.4) and rescale(1.0, 0.5, 0.1) == pytest.approx(1)


def test_scores_are_of_models_without_the_fold():
    features, unknown = data(60)
    y, everything = unknown[:, 0].astype(float), np.ones(60, dtype=bool)
    components = principal_components(features)
    fold_of = assign_folds(np.arange(60), 5, np.random.default_rng(0))
    scores, _, _ = predict_mask(Ridge(components, everything), y, fold_of)
    others = fold_of != 0
    expected = Ridge(components, others).predict(y[others], np.flatnonzero(~others))
    np.testing.assert_allclose(scores[~others], expected, atol=1e-5)
