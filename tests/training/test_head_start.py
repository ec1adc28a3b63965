"""A head that starts from the solution for the frozen backbone."""

import logging
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from aimonk.data.augmentation import Flip, crop_color
from aimonk.data.loading import Pixels
from aimonk.data.mixing import Mixup
from aimonk.models import freeze
from aimonk.models.backbones import Backbone
from aimonk.models.classifier import Classifier
from aimonk.training import solver
from aimonk.training.head_start import FOLDS, start_from_solution
from aimonk.training.losses import FocalLoss, MaskedLoss, PosWeightLoss
from aimonk.training.missing_labels import Ignore
from aimonk.training.optimizers import HeadSolver
from aimonk.training.phase import open_phase, predict
from aimonk.training.state import TrainState
from aimonk.training.task import Inputs, Settings, Task

N, A, SIZE = 60, 3, 12
SETTINGS = Settings(
    epochs=2,
    batch_size=8,
    accumulate=1,
    clip_norm=None,
    label_smoothing=0.0,
    seed=0,
    monitor="mean_ap",
    patience=None,
    min_delta=0.0,
    ema=0.9,
    amp=True,
    compile=False,
    workers=0,
    checkpoint_every=None,
)
CROP = crop_color(SIZE, (0.3, 1.0), (0.75, 1.33), 0.2, 0.2, 0.2, 0.02)


def make_task(criterion: nn.Module | None = None, augmentation=None) -> Task:
    """A task that trains the entire network from a new head; the brightness of channels gives the labels."""
    augmentation = augmentation or Flip()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, SIZE, SIZE, 3)) * rng.random((N, 1, 1, 3))
    labels = (images.mean((1, 2)) + rng.normal(0, 8, (N, A)) > 60).astype(np.float32)
    mask = rng.random((N, A)) > 0.3
    torch.manual_seed(1)
    last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    low = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    classifier = Classifier(
        Backbone("test", "tiny", OrderedDict(low=low, last=last), 8, (0.5,) * 3, (0.25,) * 3), A
    )
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.1)
    pixels = Pixels(images.astype(np.uint8), augmentation, SIZE, "squash")
    return Task(
        classifier=classifier,
        policy=freeze.lp_ft(None, None, False),
        criterion=criterion or MaskedLoss(),
        missing=Ignore(),
        optimizer=optimizer,
        scheduler=LambdaLR(optimizer, lambda step: 1.0),
        open_inputs=lambda cut: Inputs(pixels, False),
        labels=np.where(mask, labels, 0),
        mask=mask,
        train_rows=np.arange(N - 20),
        val_rows=np.arange(N - 20, N),
        weights=None,
        views=augmentation.views,
        mix=None,
        slow_loading=False,
        device=torch.device("cpu"),
        settings=SETTINGS,
    )


def logits_of(task: Task) -> Tensor:
    """Logits of the held-out images before any training."""
    return predict(task, open_phase(task, 0), task.val_rows)[1]


def solved(task: Task) -> Tensor:
    """The same of optimizer=lbfgs freeze=backbone."""
    head = HeadSolver(penalty=None, folds=FOLDS)
    settings = replace(task.settings, ema=None)
    frozen = replace(task, policy=freeze.backbone(), optimizer=head, scheduler=None, settings=settings)
    solver.solve_head(frozen, TrainState(), None)
    return logits_of(task)


@pytest.mark.parametrize("criterion", [MaskedLoss(), PosWeightLoss(torch.tensor([9.0, 3.0, 0.2]))])
def test_first_logits_are_those_of_the_solver(criterion: MaskedLoss) -> None:
    task = make_task(criterion)
    before = logits_of(task)
    start_from_solution(task, None)
    torch.testing.assert_close(logits_of(task), solved(make_task(criterion)), rtol=0, atol=0)
    assert (logits_of(task) - before).abs().max() > 0.1


def test_only_the_head_changes() -> None:
    task = make_task()
    before = {key: value.clone() for key, value in task.classifier.state_dict().items()}
    start_from_solution(task, None)
    changed = {
        key for key, value in task.classifier.state_dict().items() if not torch.equal(value, before[key])
    }
    assert changed == {"head.weight", "head.bias"}


def test_loss_that_is_not_convex_starts_from_the_masked_solution() -> None:
    task = make_task(FocalLoss(2.0, None))
    start_from_solution(task, None)
    torch.testing.assert_close(logits_of(task), solved(make_task()), rtol=0, atol=0)


def test_unbounded_augmentation_starts_from_the_unchanged_images() -> None:
    task, plain = make_task(augmentation=CROP), make_task()
    start_from_solution(task, None)
    plain.views = 1
    torch.testing.assert_close(logits_of(task), solved(plain), rtol=0, atol=0)


def test_mixing_does_not_change_the_start() -> None:
    task = make_task()
    task.mix = Mixup(1.0)
    start_from_solution(task, None)
    torch.testing.assert_close(logits_of(task), solved(make_task()), rtol=0, atol=0)


def test_start_is_logged_with_its_score(caplog: pytest.LogCaptureFixture) -> None:
    task = make_task()
    with caplog.at_level(logging.INFO, logger="aimonk"):
        start_from_solution(task, None)
        task.val_rows = task.val_rows[:0]
        start_from_solution(task, None)
    lines = [r.getMessage() for r in caplog.records if r.name.endswith("head_start")]
    title = "the head starts from the solution for the frozen backbone"
    assert lines[0].startswith(f"{title}, validation mean AP 0.") and lines[1] == title
