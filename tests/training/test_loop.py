import copy
import itertools
import logging
import math
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from aimonk.data.augmentation import Flip
from aimonk.data.loading import Pixels
from aimonk.data.mixing import CutMix, Mix, Mixup
from aimonk.models import freeze
from aimonk.models.backbones import Backbone
from aimonk.models.classifier import Classifier
from aimonk.training import missing_images, selection
from aimonk.training.loop import backward, fit
from aimonk.training.losses import MaskedLoss
from aimonk.training.missing_labels import (
    EntropyMaximization,
    Ignore,
    LargeLoss,
    MissingLabels,
    SelectiveNegatives,
    WeakNegatives,
)
from aimonk.training.phase import open_phase, predict
from aimonk.training.state import TrainState, averaged, load_state, save_state, trained_state
from aimonk.training.task import Inputs, Settings, Task, warm_decay

N, A, SIZE = 20, 3, 8
SETTINGS = Settings(
    epochs=2,
    batch_size=4,
    accumulate=1,
    clip_norm=None,
    label_smoothing=0.0,
    seed=0,
    monitor="mean_ap",
    patience=None,
    min_delta=0.0,
    ema=None,
    amp=True,
    compile=False,
    workers=0,
    checkpoint_every=None,
)


def make_classifier(norm: bool = True) -> Classifier:
    """Three stages, two of which have BatchNorm if `norm`."""
    torch.manual_seed(1)

    def stage(before: int, after: int) -> nn.Sequential:
        middle = nn.BatchNorm2d(after) if norm else nn.Identity()
        return nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), middle, nn.ReLU())

    last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6))
    stages = OrderedDict(low=stage(3, 8), high=stage(8, 8), last=last)
    return Classifier(Backbone("test", "tiny", stages, 6, (0.5,) * 3, (0.25,) * 3), A)


def make_task(
    policy: freeze.FreezePolicy | None = None, norm: bool = True, val: int = 0, lr: float = 0.1, **changes
) -> Task:
    """A small task with SGD; the last `val` of its images are held out."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8)
    labels = (rng.random((N, A)) < 0.5).astype(np.float32)
    mask = rng.random((N, A)) > 0.3
    classifier = make_classifier(norm)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=lr)
    pixels = Pixels(images, Flip(), SIZE, "squash")
    return Task(
        classifier=classifier,
        policy=policy or freeze.none(),
        criterion=MaskedLoss(),
        missing=Ignore(),
        optimizer=optimizer,
        scheduler=LambdaLR(optimizer, lambda step: 1.0),
        open_inputs=lambda cut: Inputs(pixels, False),
        labels=np.where(mask, labels, 0),
        mask=mask,
        train_rows=np.arange(N - val),
        val_rows=np.arange(N - val, N),
        weights=None,
        views=2,
        mix=None,
        slow_loading=False,
        device=torch.device("cpu"),
        settings=replace(SETTINGS, **changes),
    )


def run(
    task: Task,
    stop=lambda: False,
    save=lambda: None,
    state: TrainState | None = None,
    report=lambda state: None,
) -> TrainState:
    state = TrainState() if state is None else state
    fit(task, state, task.settings.epochs, stop, save, report)
    return state


def state_of(task: Task) -> dict[str, Tensor]:
    return copy.deepcopy(task.classifier.state_dict())


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The parts of the network of which anything differs."""
    keys = {key for key in before if not torch.equal(before[key], after[key])}
    return {key.split(".")[1] if key.startswith("stages.") else key.split(".")[0] for key in keys}


def without_times(history: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history]


def test_first_loss_is_the_loss_of_the_first_batch() -> None:
    task = make_task(freeze.backbone(), batch_size=N)
    with torch.no_grad():
        # all stages frozen: eval mode, as in training
        task.classifier.freeze(3)
        images = task.open_inputs(3).load.images
        flipped = [
            torch.from_numpy(images).permute(0, 3, 1, 2),
            torch.from_numpy(images).permute(0, 3, 1, 2).flip(-1),
        ]
        losses = [
            nn.functional.binary_cross_entropy_with_logits(
                task.classifier(view), torch.from_numpy(task.labels), reduction="none"
            )
            for view in flipped
        ]
    state = run(task)
    lowest, highest = (
        pick(*losses)[torch.from_numpy(task.mask)].mean() for pick in (torch.minimum, torch.maximum)
    )
    assert lowest <= state.losses[0] <= highest
    assert len(state.losses) == 2


def test_epoch_visits_each_image_once() -> None:
    task = make_task(batch_size=8)
    state = run(task)
    assert len(state.losses) == len(state.known) == 2 * 3  # 8 + 8 + 4 images
    assert sum(state.known[:3]) == sum(state.known[3:]) == task.mask.sum()
    assert state.images == 2 * N
    assert (state.epoch, state.batches) == (3, 0)
    record = state.history[0]
    weighted = np.average(state.losses[:3], weights=state.known[:3])
    assert record["train_loss"] == pytest.approx(weighted)
    assert [r["iteration"] for r in state.history] == [3, 6]


def test_accumulated_batches_equal_one_large_batch() -> None:
    large, small = make_task(norm=False, batch_size=8), make_task(norm=False, batch_size=2, accumulate=4)
    expected, got = run(large), run(small)
    np.testing.assert_allclose(got.losses, expected.losses, rtol=1e-5)
    assert got.known == expected.known
    for key, value in state_of(large).items():
        torch.testing.assert_close(small.classifier.state_dict()[key], value, rtol=1e-4, atol=1e-6)


def test_run_depends_on_the_seed() -> None:
    first, again, other = run(make_task()), run(make_task()), run(make_task(seed=1))
    assert first.losses == again.losses
    assert first.losses != other.losses


def test_dropout_depends_on_the_seed_alone() -> None:
    def losses(disturb: bool) -> list[float]:
        task = make_task()
        task.classifier.stages["last"].append(nn.Dropout(0.5))
        if disturb:
            torch.rand(7)
        return run(task).losses

    assert losses(False) == losses(True)


def test_unknown_labels_have_no_effect() -> None:
    task, other = make_task(val=6), make_task(val=6)
    other.labels = np.where(other.mask, other.labels, 1 - other.labels)
    nan = make_task(val=6)
    nan.labels = np.where(nan.mask, nan.labels, np.nan).astype(np.float32)
    expected = run(task)
    for changed_task in (other, nan):
        got = run(changed_task)
        assert got.losses == expected.losses
        assert without_times(got.history) == without_times(expected.history)


def test_batches_without_known_entries_change_nothing() -> None:
    task = make_task(norm=False)
    task.mask = np.zeros_like(task.mask)
    before = state_of(task)
    state = run(task)
    assert state.losses == [0.0] * 10
    assert state.history[0]["train_loss"] == 0
    assert changed(before, state_of(task)) == set()


def test_one_batch_without_known_entries_is_harmless() -> None:
    task = make_task(norm=False, batch_size=1)
    task.mask[:10] = False
    state = run(task)
    assert sum(loss == 0 for loss in state.losses) >= 20
    assert all(math.isfinite(loss) for loss in state.losses)


@pytest.mark.parametrize(
    ("policy", "trains"),
    [
        (freeze.backbone(), {"head"}),
        (freeze.stages(0), {"head"}),
        (freeze.stages(1), {"head", "last"}),
        (freeze.stages(2), {"head", "last", "high"}),
        (freeze.none(), {"head", "last", "high", "low"}),
    ],
)
def test_frozen_parts_stay_bit_identical(policy: freeze.FreezePolicy, trains: set[str]) -> None:
    task = make_task(policy, val=4)
    before = state_of(task)
    state = run(task)
    assert changed(before, state_of(task)) == trains
    kept = {key.split(".")[1] if "stages" in key else key.split(".")[0] for key in state.best_state}
    assert kept - {"normalise"} == trains


@pytest.mark.parametrize(
    ("policy", "by_epoch"),
    [
        (freeze.gradual([2, 4]), [{"head"}, {"head", "last"}, {"head", "last"}, {"head", "last", "high"}]),
        (
            freeze.lp_ft(2, None, False),
            [{"head"}, {"head"}, {"head", "last", "high", "low"}, {"head", "last", "high", "low"}],
        ),
    ],
)
def test_policies_unfreeze_at_their_epochs(policy: freeze.FreezePolicy, by_epoch: list[set[str]]) -> None:
    task = make_task(policy, val=4, epochs=4)
    states = [state_of(task)]
    run(task, save=lambda: states.append(state_of(task)))
    assert [changed(a, b) for a, b in itertools.pairwise(states)] == by_epoch


def test_stopped_run_resumes_without_a_difference() -> None:
    expected_task, task = make_task(val=4, epochs=3), make_task(val=4, epochs=3)
    expected = run(expected_task)
    state = TrainState()
    run(task, stop=lambda: len(state.losses) == 6, state=state)
    assert len(state.losses) == 6
    assert (state.epoch, state.batches) == (2, 2)
    assert len(state.history) == 1
    run(task, state=state)
    assert state.losses == expected.losses
    assert state.known == expected.known
    assert without_times(state.history) == without_times(expected.history)
    assert changed(state_of(expected_task), state_of(task)) == set()


@pytest.mark.parametrize("mix", [Mixup(1.0), CutMix(1.0)])
@pytest.mark.parametrize("policy", [freeze.none(), freeze.stages(2)])
def test_mixed_run_resumes_without_a_difference(mix: Mixup | CutMix, policy: freeze.FreezePolicy) -> None:
    def make() -> Task:
        task = make_task(policy, val=4, epochs=2, batch_size=3, accumulate=2, label_smoothing=0.1)
        task.mix = mix
        return task

    expected, state, task = run(make()), TrainState(), make()
    torch.rand(5)
    run(task, stop=lambda: len(state.losses) == 4, state=state)
    torch.rand(3)
    run(task, state=state)
    assert state.losses == expected.losses and len(set(state.losses)) == len(state.losses) == 6
    plain = make_task(policy, val=4, epochs=2, batch_size=3, accumulate=2, label_smoothing=0.1)
    assert run(plain).losses != expected.losses


@pytest.mark.parametrize("mix", [Mixup(1.0), CutMix(1.0)])
def test_accumulated_batches_are_mixed_differently(mix: Mixup | CutMix) -> None:
    task, seen = make_task(batch_size=5, accumulate=4, epochs=1), []

    def remember(inputs: Tensor) -> tuple:
        mixed, what = mix(inputs)
        seen.append((what.share, what.partners.tolist()))
        return mixed, what

    task.mix = remember
    run(task)
    assert len(seen) == 4 and len({share for share, _ in seen}) == 4


def test_mixed_inputs_are_those_of_the_part_that_trains() -> None:
    shapes = []

    def keep_shape(inputs: Tensor) -> tuple:
        shapes.append((inputs.shape[1], inputs.dtype))
        return inputs, None

    for policy in (freeze.none(), freeze.stages(2), freeze.backbone()):
        task = make_task(policy, epochs=1, batch_size=N)
        task.mix = keep_shape
        assert run(task).losses == run(make_task(policy, epochs=1, batch_size=N)).losses
    assert shapes == [(3, torch.uint8), (8, torch.float32), (6, torch.float32)]


def test_loss_of_mixed_inputs_has_the_labels_of_both_sources() -> None:
    def swap(inputs: Tensor) -> tuple:
        # entirely the partner: the same batch in another order
        partners = torch.arange(len(inputs)).flip(0)
        return inputs[partners], Mix(partners, 1.0)

    task = make_task(norm=False, epochs=1)
    task.mix = swap
    np.testing.assert_allclose(run(task).losses, run(make_task(norm=False, epochs=1)).losses, rtol=1e-5)


def test_unknown_labels_have_no_effect_on_mixed_runs() -> None:
    task, other = make_task(label_smoothing=0.2), make_task(label_smoothing=0.2)
    other.labels = np.where(other.mask, other.labels, np.nan).astype(np.float32)
    task.mix = other.mix = Mixup(1.0)
    assert run(task).losses == run(other).losses


def test_validation_loss_is_not_smoothed() -> None:
    plain, smooth = make_task(val=8, epochs=1, lr=1e-12), make_task(val=8, epochs=1, lr=1e-12)
    smooth.settings = replace(smooth.settings, label_smoothing=0.5)
    before, after = run(plain), run(smooth)
    assert before.history[0]["val_loss"] == pytest.approx(after.history[0]["val_loss"], abs=1e-6)
    assert before.losses != after.losses


def test_stop_waits_for_the_optimizer_step() -> None:
    task = make_task(batch_size=2, accumulate=3)
    state = run(task, stop=lambda: True)
    assert (len(state.losses), state.batches) == (1, 3)


def test_stop_in_the_last_iteration_keeps_the_epoch() -> None:
    state = TrainState()
    run(make_task(val=4), stop=lambda: len(state.losses) == 4, state=state)
    assert (state.epoch, state.batches, len(state.history)) == (2, 0, 1)


def test_checkpoints_within_and_after_epochs() -> None:
    task, seen = make_task(checkpoint_every=2), []
    state = TrainState()
    run(task, save=lambda: seen.append((state.epoch, state.batches)), state=state)
    assert seen == [(1, 2), (1, 4), (2, 0), (2, 1), (2, 3), (2, 5), (3, 0)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_loss_stops_training(value: float) -> None:
    task = make_task(lr=0.125)
    good, calls = task.criterion.total, iter(range(100))
    task.criterion.total = lambda *batch: good(*batch) * (value if next(calls) == 6 else 1)
    state = TrainState()
    with pytest.raises(FloatingPointError, match=r"at iteration 7 \(epoch 2, learning rate 0\.125\); try"):
        run(task, state=state)


def test_validation_record_matches_the_weights() -> None:
    task = make_task(val=8, epochs=1)
    record = run(task).history[0]
    rows, logits = predict(task, open_phase(task, 0), task.val_rows)
    assert rows.tolist() == task.val_rows.tolist()
    images = torch.from_numpy(task.open_inputs(0).load.images[task.val_rows]).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = task.classifier.eval()(images)
    torch.testing.assert_close(logits, expected)
    labels, mask = (torch.from_numpy(a[task.val_rows]) for a in (task.labels, task.mask))
    loss = nn.functional.binary_cross_entropy_with_logits(expected[mask], labels[mask])
    assert record["val_loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert 0 <= record["mean_ap"] <= 1
    assert 0 <= record["f1_macro"] <= 1


def test_predictions_do_not_depend_on_the_batch_size() -> None:
    logits = [
        predict(task, open_phase(task, 0), np.array([7, 3, 11, 0, 19]))[1]
        for task in (make_task(batch_size=1), make_task(batch_size=16))
    ]
    torch.testing.assert_close(*logits)
    task = make_task()
    assert predict(task, open_phase(task, 0), np.array([], dtype=np.int64))[1].shape == (0, A)


def test_deleted_images_are_not_scored() -> None:
    task, present = make_task(val=8, epochs=1), make_task(val=8, epochs=1)
    pixels, lost = task.open_inputs(0).load, {14, 19}
    there = torch.tensor([row not in lost for row in range(N)])
    task.open_inputs = lambda cut: Inputs(
        lambda rows, views: (pixels(rows, views)[0] * 0, there[rows]), False
    )
    rows, logits = predict(task, open_phase(task, 0), task.val_rows)
    assert rows.tolist() == [12, 13, 15, 16, 17, 18] and logits.shape == (6, A)
    present.val_rows = rows
    present.open_inputs = lambda cut: Inputs(
        lambda rows, views: (pixels(rows, views)[0] * 0, there[rows] | True), False
    )
    assert without_times(run(task).history) == without_times(run(present).history)
    there[:] = False  # all of them
    rows, logits = predict(task, open_phase(task, 0), task.val_rows)
    assert len(rows) == 0 and logits.shape == (0, A)


POLICIES = {
    "weak": lambda: WeakNegatives(0.3),
    "entropy": lambda: EntropyMaximization(0.2),
    "selective": lambda: SelectiveNegatives(A, threshold=0.5, top=1, gamma=2.0, decay=0.9),
    "large_loss": lambda: LargeLoss("correct", 0.1),
}
every_policy = pytest.mark.parametrize("policy", POLICIES)


@every_policy
def test_policies_equal_ignore_with_complete_labels(policy: str) -> None:
    expected_task, task = make_task(val=4, epochs=3), make_task(val=4, epochs=3)
    task.missing = POLICIES[policy]()
    for t in (expected_task, task):
        t.mask[t.train_rows] = True
    assert run(task).losses == run(expected_task).losses
    assert changed(state_of(expected_task), state_of(task)) == set()


@every_policy
def test_unknown_entries_count_in_the_mean(policy: str) -> None:
    task = make_task(freeze.backbone(), batch_size=N, epochs=1)
    task.missing = POLICIES[policy]()
    task.views = 1
    with torch.no_grad():
        task.classifier.freeze(3)
        images = torch.from_numpy(task.open_inputs(0).load.images).permute(0, 3, 1, 2)
        logits, mask = task.classifier(images), torch.from_numpy(task.mask)
        loss = task.criterion.total(logits, torch.from_numpy(task.labels), mask)
        loss += POLICIES[policy]().total(task.criterion, logits, mask, 1)
    entries = task.mask.sum() + task.missing.weight * (~task.mask).sum()
    state = run(task)
    assert state.losses == pytest.approx([loss.item() / entries], rel=1e-5)
    assert state.known == pytest.approx([entries])


@pytest.mark.parametrize("policy", ["weak", "entropy"])
def test_policies_accumulate_like_one_large_batch(policy: str) -> None:
    large, small = make_task(norm=False, batch_size=8), make_task(norm=False, batch_size=2, accumulate=4)
    large.missing, small.missing = POLICIES[policy](), POLICIES[policy]()
    expected, got = run(large), run(small)
    np.testing.assert_allclose(got.losses, expected.losses, rtol=1e-5)
    assert got.known == expected.known
    for key, value in state_of(large).items():
        torch.testing.assert_close(small.classifier.state_dict()[key], value, rtol=1e-4, atol=1e-6)


def test_unknown_entries_train_without_known_ones() -> None:
    task = make_task(norm=False, batch_size=N, epochs=1)
    task.missing = WeakNegatives(0.01)  # the entries of the mean weigh less than 1 in all
    task.mask = np.zeros_like(task.mask)
    before = task.open_inputs(0).load.images
    with torch.no_grad():
        logits = task.classifier(torch.from_numpy(before).permute(0, 3, 1, 2))
    task.views = 1
    state = run(task)
    assert state.losses[0] == pytest.approx(nn.functional.softplus(logits).mean().item(), rel=1e-5)


@every_policy
def test_rows_of_padding_are_not_unknown(policy: str) -> None:
    task = make_task(norm=False)
    phase = open_phase(task, 0)
    rows = torch.arange(6)
    images = task.open_inputs(0).load(rows, torch.zeros_like(rows))[0]
    labels, mask = (torch.from_numpy(a[:6]) for a in (task.labels, task.mask))
    exists = torch.tensor([True] * 4 + [False] * 2)
    batches = [(images[:4], labels[:4], mask[:4], exists[:4])]
    batches.append((images, labels, mask & exists[:, None], exists))
    losses = []
    for batch in batches:
        task.missing = POLICIES[policy]()
        losses.append(backward(task, phase, 2, 12.0, *batch).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@every_policy
def test_saved_run_resumes_without_a_difference(policy: str, tmp_path: Path) -> None:
    def task() -> Task:
        made = make_task(val=4, epochs=3)
        made.missing = POLICIES[policy]()
        return made

    whole, first, second = task(), task(), task()
    expected, state = run(whole), TrainState()
    run(first, stop=lambda: len(state.losses) == 6, state=state)
    save_state(tmp_path / "state.pth", first, state, "")
    resumed = run(second, state=load_state(tmp_path / "state.pth", second, ""))
    assert resumed.losses == expected.losses and resumed.known == expected.known
    assert changed(state_of(whole), state_of(second)) == set()
    for key, value in whole.missing.state_dict().items():
        assert torch.equal(second.missing.state_dict()[key], value)


def delete(task: Task, lost: set[int]) -> None:
    """Let the images of these rows be missing."""
    load = task.open_inputs(0).load

    def load_existing(rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        inputs, exists = load(rows, views)
        return inputs * 0, exists & torch.tensor([row not in lost for row in rows.tolist()])

    task.open_inputs = lambda cut: Inputs(load_existing, False)


@pytest.mark.parametrize("policy", [Ignore(), WeakNegatives(0.3), EntropyMaximization(0.2)])
def test_few_missing_images_are_dropped(policy: MissingLabels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_images, "MAX_MISSING", 0.1)
    task, without = make_task(batch_size=N), make_task(batch_size=N)
    task.missing = without.missing = policy
    delete(task, {3, 7})
    delete(without, set())
    without.train_rows = np.delete(np.arange(N), [3, 7])
    state, expected = run(task), run(without)
    # BatchNorm and the mean of the loss see 18 images, in another order
    np.testing.assert_allclose(state.losses, expected.losses, rtol=1e-5)
    mask = task.mask[without.train_rows]
    assert state.known == expected.known == [mask.sum() + policy.weight * (~mask).sum()] * 2


@pytest.mark.parametrize("lost", [{3}, set(range(N))])
def test_many_missing_images_stop_training(lost: set[int]) -> None:
    task = make_task(batch_size=5)
    delete(task, lost)
    with pytest.raises(FileNotFoundError, match=f"of {N} training images can no longer be read"):
        run(task)


def test_iteration_without_an_image_stops_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_images, "MAX_MISSING", 0.5)
    task = make_task(batch_size=1)
    delete(task, {3})
    task.mask[3] = True
    with pytest.raises(FileNotFoundError, match=r"^1 of 20 training images"):
        run(task)


def with_scores(monkeypatch: pytest.MonkeyPatch, scores: list[float | None]) -> None:
    """Let the epochs have these mean APs."""
    values = iter(scores)
    monkeypatch.setattr(selection.metrics, "mean_ap", lambda *_: next(values))


def with_validation(monkeypatch: pytest.MonkeyPatch, scores: list[float | None], losses: list[float]) -> None:
    """Let the epochs have these mean APs and validation losses."""
    records = iter(zip(scores, losses, strict=True))

    def validate(task: Task, phase: object) -> dict:
        mean_ap, val_loss = next(records)
        return {"val_loss": val_loss, "mean_ap": mean_ap, "f1_macro": None}

    monkeypatch.setattr(selection, "validate", validate)


@pytest.mark.parametrize(
    ("scores", "losses", "best"),
    [
        ([0.5, 0.9, 0.8, 0.7], [1.0, 1.0, 0.5, 0.4], 2),
        ([1.0, 1.0, 1.0, 1.0], [0.9, 0.7, 0.5, 0.6], 3),  # equal scores: the lowest loss
        ([0.5, 0.9, 0.9, 0.7], [1.0, 0.5, 0.5, 0.1], 3),  # equal losses as well: the later epoch
        ([None, None, None, None], [0.9, 0.5, 0.6, 0.7], 2),  # undefined scores: the lowest loss
        ([None, 0.2, None, 0.1], [0.1, 0.9, 0.1, 0.1], 2),
    ],
)
def test_best_epoch_breaks_ties_by_loss_and_time(
    scores: list, losses: list, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_validation(monkeypatch, scores, losses)
    task, states = make_task(val=4, epochs=4), []
    state = run(task, save=lambda: states.append(trained_state(task)))
    assert state.best["epoch"] == best
    assert state.best_state.keys() == states[best - 1].keys()
    assert all(torch.equal(state.best_state[key], value) for key, value in states[best - 1].items())


def test_best_epoch_by_loss() -> None:
    task = make_task(val=6, epochs=5, lr=2.0, monitor="loss")
    state = run(task)
    losses = [record["val_loss"] for record in state.history]
    assert state.best["epoch"] == 1 + int(np.argmin(losses))


def test_last_epoch_is_kept_without_validation_images() -> None:
    task = make_task(epochs=3)
    state = run(task)
    final = trained_state(task)
    selected = selection.select_epoch(task, state, final, None)
    assert (selected.epoch, selected.why) == (3, "epoch 3, the last one; no images were held out")
    assert state.history[0]["val_loss"] is None
    assert all(torch.equal(selected.weights[key], value) for key, value in final.items())


@pytest.mark.parametrize("monitor", ["mean_ap", "loss"])
@pytest.mark.parametrize(("gain", "error", "kept"), [(0.1, 0.05, 1), (0.1, 0.2, 3), (0.0, math.nan, 3)])
def test_last_epoch_is_kept_unless_another_is_clearly_better(
    monitor: str, gain: float, error: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_validation(monkeypatch, [0.9, 0.5, 0.8], [0.1, 0.9, 0.2])
    monkeypatch.setattr(selection, "compare_epochs", lambda *_: (gain, error))
    task = make_task(val=4, epochs=3, monitor=monitor)
    state = run(task)
    last = trained_state(task)
    selected = selection.select_epoch(task, state, last, None)
    assert selected.epoch == kept
    assert selected.weights is (last if kept == 3 else state.best_state)


@pytest.mark.parametrize("monitor", ["mean_ap", "loss"])
def test_epochs_are_compared_on_the_same_images(monitor: str) -> None:
    task = make_task(val=10, epochs=4, lr=1.0, monitor=monitor)
    state = run(task)
    last = trained_state(task)
    gain, error = selection.compare_epochs(task, state, last, None)
    key = "mean_ap" if monitor == "mean_ap" else "val_loss"
    assert gain == pytest.approx(abs(state.best[key] - state.history[-1][key]), abs=1e-6)
    assert error > 0 or gain == 0


def test_unchanged_loss_of_equal_scores_exhausts_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    # a mean AP of 1 is reached at once, and the loss improves for three more epochs
    with_validation(monkeypatch, [1.0] * 8, [0.9, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6])
    assert len(run(make_task(val=4, epochs=8, patience=2)).history) == 6


@pytest.mark.parametrize(("min_delta", "epochs"), [(0.0, 6), (0.15, 5), (0.5, 3)])
def test_early_stop(min_delta: float, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with_scores(monkeypatch, [0.4, 0.5, 0.6, 0.65, 0.6, 0.6, 0.6, 0.6])
    task = make_task(val=4, epochs=8, patience=2, min_delta=min_delta)
    assert len(run(task).history) == epochs


def test_moving_average_is_kept() -> None:
    decay, task = 0.7, make_task(val=4, epochs=1, ema=0.7)
    weights = []
    task.optimizer.register_step_post_hook(
        lambda *_: weights.append(task.classifier.head.weight.detach().clone())
    )
    state = run(task)
    expected = weights[0]
    for n, value in enumerate(weights[1:], start=1):
        warm = min(decay, (1 + n) / (10 + n))
        expected = warm * expected + (1 - warm) * value
    torch.testing.assert_close(state.best_state["head.weight"], expected)
    own = state_of(task)
    assert torch.equal(own["head.weight"], weights[-1]), "training continues with the weights themselves"
    with averaged(task):
        torch.testing.assert_close(task.classifier.head.weight.detach(), expected)
    assert changed(own, state_of(task)) == set()


def test_gradient_is_clipped() -> None:
    task = make_task(norm=False, epochs=1, batch_size=N, lr=1.0, clip_norm=1e-3)
    before = state_of(task)
    run(task)
    moved = torch.cat([(v - before[k]).flatten() for k, v in state_of(task).items() if v.is_floating_point()])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("val", [0, 4])
def test_plateau_follows_the_score(val: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with_scores(monkeypatch, [0.5, 0.4, 0.4, 0.4])
    task = make_task(val=val, epochs=4, lr=0.0)  # a rate of 0: the training loss stands still as well
    for group in task.optimizer.param_groups:
        group["lr"] = 1e-12
    task.scheduler = ReduceLROnPlateau(task.optimizer, mode="max", factor=0.1, patience=1, eps=0)
    run(task)
    assert task.optimizer.param_groups[0]["lr"] == pytest.approx(1e-13)


def test_schedule_steps_once_an_iteration() -> None:
    task, rates = make_task(epochs=1, batch_size=2, accumulate=2), []
    task.scheduler = LambdaLR(task.optimizer, lambda step: 1 / (step + 1))
    task.optimizer.register_step_pre_hook(lambda *_: rates.append(task.optimizer.param_groups[0]["lr"]))
    run(task)
    np.testing.assert_allclose(rates, [0.1 / (i + 1) for i in range(5)])


def test_sampler_weights_are_probabilities() -> None:
    task = make_task(norm=False)
    task.weights = np.eye(N)[5]
    seen = []
    load = task.open_inputs(0).load
    task.open_inputs = lambda cut: Inputs(
        lambda rows, views: (seen.extend(rows.tolist()), load(rows, views))[1], False
    )
    run(task)
    assert set(seen) == {5}
    assert len(seen) == 2 * N


def test_each_epoch_logs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="aimonk"):
        run(make_task(val=6))
    lines = [r.getMessage() for r in caplog.records if r.name == "aimonk.training.loop"]
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "validation loss" in lines[0]


def test_moving_average_forgets_the_initial_weights() -> None:
    kept = 1.0
    for n in range(1, 300):
        kept *= warm_decay(0.999, n)
    assert kept < 1e-9  # 0.74 at a constant decay
    assert warm_decay(0.999, 10**5) == 0.999


def test_each_epoch_is_reported_once_it_is_saved() -> None:
    calls = []
    run(
        make_task(epochs=2),
        save=lambda: calls.append("saved"),
        report=lambda state: calls.append(state.history[-1]["epoch"]),
    )
    assert calls == ["saved", 1, "saved", 2]
