"""The solved head of a frozen backbone, as a run trains it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from sklearn.linear_model import LogisticRegression

from aimonk.data.dataset import ImageSet
from aimonk.models.freeze import backbone, gradual
from aimonk.setup.data import open_data
from aimonk.setup.task import build_task
from aimonk.training import solver
from aimonk.training.losses import FocalLoss, MaskedLoss
from aimonk.training.missing_labels import Ignore, LargeLoss, WeakNegatives
from aimonk.training.phase import open_phase, predict
from aimonk.training.solver import SolvedHead, find_obstacle, solve_head
from aimonk.training.state import TrainState
from aimonk.training.task import Inputs, Task

SMALL = [
    *("data=folder", "data.image_size=32", "backbone=timm", "backbone.name=test_resnet"),
    *("backbone.weights=random", "optimizer=lbfgs", "optimizer.penalty=0.1", "workers=0"),
]


@pytest.fixture
def images(trained: SimpleNamespace, compose: Callable[..., DictConfig]) -> ImageSet:
    """The first 40 images of the small demo."""
    return open_data(compose())


@pytest.fixture
def compose(compose_config, cache_dir: Path) -> Callable[..., DictConfig]:
    demo = cache_dir / "demo_60_0"
    data = [f"data.images={demo / 'images'}", f"data.labels={demo / 'labels.txt'}", f"cache_dir={cache_dir}"]
    return lambda *overrides: compose_config(*SMALL, *data, *overrides)


def relabel(images: ImageSet, **changes: np.ndarray) -> ImageSet:
    return dataclasses.replace(images, table=dataclasses.replace(images.table, **changes))


def solve(cfg: DictConfig, images: ImageSet, rows: np.ndarray | None = None) -> tuple[Task, SolvedHead]:
    rows = np.arange(len(images.table)) if rows is None else rows
    task = build_task(cfg, images, rows, rows[:0])
    return task, solve_head(task, TrainState(), None)


def features_of(task: Task) -> np.ndarray:
    """Features of all rows, the unchanged images first, [views * N, D]."""
    inputs, rows = task.open_inputs(len(task.classifier.stages)), torch.arange(len(task.labels))
    views = [inputs.load(rows, torch.full_like(rows, view))[0] for view in range(task.views)]
    return torch.cat(views).double().numpy()


def logits_of(task: Task) -> np.ndarray:
    """Logits of all rows, as evaluation computes them."""
    phase = open_phase(task, len(task.classifier.stages))
    return predict(task, phase, np.arange(len(task.labels)))[1].numpy()


@pytest.mark.parametrize("loss", ["masked", "pos_weight"])
def test_logits_equal_scikit_learn(loss: str, compose, images: ImageSet) -> None:
    task, _ = solve(compose(f"loss={loss}"), images)
    features, table, logits = features_of(task), images.table, logits_of(task)
    for a in range(4):
        known, label = table.mask[:, a], table.labels[:, a]
        balance = 1.0 if loss == "masked" else (1 - label[known]).sum() / label[known].sum()
        weight = np.tile(np.where(label == 1, balance, 1)[known], 2) / 2  # two views
        model = LogisticRegression(C=1 / 0.1, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        model.fit(features[np.tile(known, 2)], np.tile(label[known], 2), sample_weight=weight)
        np.testing.assert_allclose(logits[:, a], model.decision_function(features[:60]), atol=1e-4)


def test_shares_of_annotators_equal_scikit_learn(compose, images: ImageSet) -> None:
    shares = np.where(images.table.mask, images.table.labels * 0.7 + 0.1, np.nan).astype(np.float32)
    task, _ = solve(compose("loss=pos_weight", "augmentation=none"), relabel(images, shares=shares))
    features, table, logits = features_of(task), images.table, logits_of(task)
    for a in range(4):
        known, share = table.mask[:, a], shares[table.mask[:, a], a].astype(float)
        label = table.labels[known, a]
        balance = (1 - label).sum() / label.sum()
        # an image of each label, with the share of the annotators who chose it
        model = LogisticRegression(C=1 / 0.1, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        model.fit(
            np.tile(features[known], (2, 1)),
            np.repeat([1, 0], known.sum()),
            sample_weight=np.concatenate([balance * share, 1 - share]),
        )
        np.testing.assert_allclose(logits[:, a], model.decision_function(features), atol=1e-4)


def test_weak_negatives_equal_scikit_learn(compose, images: ImageSet) -> None:
    task, _ = solve(compose("missing=weak", "missing.weight=0.3", "augmentation=none"), images)
    features, table, logits = features_of(task), images.table, logits_of(task)
    assert not table.mask.all()
    for a in range(4):
        weight = np.where(table.mask[:, a], 1.0, 0.3)
        model = LogisticRegression(C=1 / 0.1, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        model.fit(features, table.labels[:, a] * table.mask[:, a], sample_weight=weight)
        np.testing.assert_allclose(logits[:, a], model.decision_function(features), atol=1e-4)


def test_unknown_rows_change_nothing(compose, images: ImageSet) -> None:
    rows, mask = np.arange(60), images.table.mask.copy()
    mask[40:] = False
    cfg = compose("optimizer.penalty=null")
    (some, solved), (all_, padded) = (
        solve(cfg, relabel(images, mask=mask), part) for part in (rows[:40], rows)
    )
    assert torch.equal(some.classifier.head.weight, all_.classifier.head.weight)
    np.testing.assert_array_equal(solved.logits, padded.logits)


def test_attributes_without_both_values_get_their_base_rate(compose, images: ImageSet) -> None:
    labels, mask = images.table.labels.copy(), images.table.mask.copy()
    mask[:, 0] = False
    labels[:, 1], mask[:, 1] = 1, np.arange(60) < 8
    mask[:, 2] = np.arange(60) < 2
    labels[:2, 2] = 0, 1
    task, solved = solve(compose("optimizer.penalty=null"), relabel(images, labels=labels, mask=mask))
    logits = logits_of(task)
    np.testing.assert_allclose(logits[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(logits[:, 1], np.log(9), rtol=1e-6)
    assert logits[1, 2] > logits[0, 2] and np.isfinite(logits).all()
    assert np.isnan(solved.logits[:, :3]).all() and np.isfinite(solved.logits[:, 3]).all()


def test_blocks_of_attributes_give_the_same_head(compose, images: ImageSet, monkeypatch) -> None:
    together, _ = solve(compose(), images)
    monkeypatch.setattr(solver, "ENTRIES", 3 * 120)  # three of four attributes at a time
    apart, _ = solve(compose(), images)
    torch.testing.assert_close(together.classifier.head.weight, apart.classifier.head.weight)
    torch.testing.assert_close(together.classifier.head.bias, apart.classifier.head.bias)


def test_no_known_label_is_an_error(compose, images: ImageSet) -> None:
    with pytest.raises(ValueError, match="no training image has a known label"):
        solve(compose(), relabel(images, mask=np.zeros_like(images.table.mask)))


@pytest.mark.parametrize(("value", "message"), [(1.0, None), (float("nan"), "not finite")])
def test_constant_and_invalid_features(value: float, message, compose, images: ImageSet) -> None:
    rows = np.arange(60)
    task = build_task(compose("optimizer.penalty=null"), images, rows, rows[:0])
    width = task.classifier.head.in_features

    def load(rows: torch.Tensor, views: torch.Tensor):
        return torch.full((len(rows), width), value), torch.ones(len(rows), dtype=torch.bool)

    task.open_inputs = lambda cut: Inputs(load, True)
    if message:
        with pytest.raises(ValueError, match=message):
            solve_head(task, TrainState(), None)
        return
    solve_head(task, TrainState(), None)
    known = images.table.mask.sum(axis=0)
    rate = (images.table.labels * images.table.mask).sum(axis=0) / known
    head = task.classifier.head
    logits = (head.weight.sum(dim=1) + head.bias).detach().numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), rate, atol=1e-4)


def test_images_that_no_longer_exist_are_left_out(compose, images: ImageSet, monkeypatch) -> None:
    rows = np.arange(60)
    task = build_task(compose(), images, rows, rows[:0])
    load = task.open_inputs(len(task.classifier.stages)).load

    def without_two(rows: torch.Tensor, views: torch.Tensor):
        values, exists = load(rows, views)
        gone = (rows == 3) | ((rows == 5) & (views == 1))
        return torch.where(gone[:, None], torch.nan, values), exists & ~gone

    task.open_inputs = lambda cut: Inputs(without_two, True)
    with pytest.raises(FileNotFoundError, match="2 of 60 training images can no longer be read"):
        solve_head(task, TrainState(), None)
    monkeypatch.setattr(solver, "MAX_MISSING", 0.05)
    solved = solve_head(task, TrainState(), None)
    assert sorted(set(range(60)) - set(solved.rows)) == [3, 5]
    left, _ = solve(compose(), images, np.delete(rows, [3, 5]))
    assert torch.allclose(task.classifier.head.weight, left.classifier.head.weight, atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "views", "mixes", "loss", "missing", "images", "part"),
    [
        (backbone(), 2, False, MaskedLoss, Ignore, 100, None),
        (backbone(), 2, False, MaskedLoss, WeakNegatives, 100, None),
        (backbone(), 2, True, MaskedLoss, Ignore, 100, "mixes images"),
        (gradual([2]), 2, False, MaskedLoss, Ignore, 100, "freeze=backbone"),
        (backbone(), None, False, MaskedLoss, Ignore, 100, "features.views=8"),
        (backbone(), 2, False, FocalLoss, Ignore, 100, "FocalLoss is not convex"),
        (backbone(), 2, False, MaskedLoss, LargeLoss, 100, "LargeLoss is not convex"),
        (
            backbone(),
            2,
            False,
            MaskedLoss,
            Ignore,
            300_000,
            "to solve the head at once; augmentation=none",
        ),
    ],
)
def test_obstacles_of_the_solver(policy, views, mixes, loss, missing, images: int, part: str | None) -> None:
    obstacle = find_obstacle(policy, views, mixes, loss, missing, images)
    assert obstacle is None if part is None else part in obstacle
