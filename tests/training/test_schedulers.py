"""The rates of the schedules step by step, against their formulas and torch."""

import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from aimonk.training import schedulers

BETAS = (0.9, 0.999)


def optimizer_of(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def rates(scheduler, steps: int) -> list[float]:
    """The learning rate of each step."""
    found = []
    for _ in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_constant(steps):
    assert rates(schedulers.constant(optimizer_of(0.3), steps, 0.0), steps) == [0.3] * steps


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_cosine_equals_torch(steps, final):
    theirs = CosineAnnealingLR(optimizer_of(0.3), T_max=steps, eta_min=0.3 * final)
    ours = schedulers.cosine(optimizer_of(0.3), steps, 0.0, final)
    assert rates(ours, steps) == pytest.approx(rates(theirs, steps), rel=1e-6)


def test_warmup_is_linear():
    # two of eight steps
    assert rates(schedulers.constant(optimizer_of(3.0), 8, 0.25), 8) == pytest.approx(
        [1, 2, 3, 3, 3, 3, 3, 3]
    )
    half = [0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
    assert rates(schedulers.cosine(optimizer_of(3.0), 8, 0.25, 0.0), 8) == pytest.approx(
        [1, 2, *(3 * h for h in half)]
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.5, 0.99])
def test_warmup_of_short_runs(steps, warmup):
    for scheduler in (
        schedulers.constant(optimizer_of(), steps, warmup),
        schedulers.cosine(optimizer_of(), steps, warmup, 0.0),
    ):
        found = rates(scheduler, steps)
        assert all(0 < rate <= 1 for rate in found)


@pytest.mark.parametrize("steps", [2, 7, 100])
@pytest.mark.parametrize("pct_start", [0.0, 0.3, 0.9])
def test_onecycle_equals_torch(steps, pct_start):
    theirs = OneCycleLR(optimizer_of(), 0.3, total_steps=steps, pct_start=pct_start, cycle_momentum=False)
    assert rates(schedulers.onecycle(optimizer_of(0.3), steps, pct_start), steps) == pytest.approx(
        rates(theirs, steps), rel=1e-6
    )


@pytest.mark.parametrize(
    ("steps", "pct_start"), [(1, 0.3), (1, 1.0), (1, 0.0), (2, 0.5), (10, 0.1), (4, 0.25)]
)
def test_onecycle_where_torch_divides_by_zero(steps, pct_start):
    found = rates(schedulers.onecycle(optimizer_of(0.3), steps, pct_start), steps)
    assert all(0 < rate <= 0.3 for rate in found)
    if pct_start * steps == 1:
        assert found[0] == 0.3 and found == sorted(found, reverse=True)
    if pct_start == 1:
        assert found[-1] == 0.3 and found == sorted(found)


def test_onecycle_keeps_momentum():
    head, backbone = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    groups = [{"params": [head], "lr": 0.1}, {"params": [backbone], "lr": 0.05}]
    optimizer = torch.optim.AdamW(groups, betas=BETAS)
    scheduler = schedulers.onecycle(optimizer, 10, 0.3)
    assert all(group["betas"] == BETAS for group in optimizer.param_groups)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
        assert all(group["betas"] == BETAS for group in optimizer.param_groups)
        assert optimizer.param_groups[1]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"] / 2)


def test_schedules_accept_extra_steps():
    for scheduler in (
        schedulers.constant(optimizer_of(), 3, 0.5),
        schedulers.cosine(optimizer_of(), 3, 0.0, 0.1),
        schedulers.onecycle(optimizer_of(), 3, 0.3),
    ):
        late = rates(scheduler, 10)[4:]
        assert len(set(late)) == 1 and late[0] >= 0


def test_schedules_resume_from_their_state():
    complete = rates(schedulers.onecycle(optimizer_of(), 10, 0.3), 10)
    first = schedulers.onecycle(optimizer_of(), 10, 0.3)
    begun = rates(first, 4)
    second = schedulers.onecycle(optimizer_of(), 10, 0.3)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert begun + rates(second, 6) == complete


@pytest.mark.parametrize("sign", [1, -1])
def test_plateau_waits_for_more_than_patience_epochs(sign):
    # a score such as minus the loss is below zero
    best = 0.5 * sign
    optimizer = optimizer_of()
    scheduler = schedulers.plateau(optimizer, 100, factor=0.1, patience=2)
    found = []
    for score in [best, best, best - 0.01, best + 1e-6, best, best + 1e-6, best, best]:
        scheduler.step(score)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([1, 1, 1, 1, 1, 1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: schedulers.constant(o, 10, 1.0), "scheduler.warmup is 1.0"),
        (lambda o: schedulers.cosine(o, 10, -0.1, 0.0), "scheduler.warmup is -0.1"),
        (lambda o: schedulers.cosine(o, 10, 0.0, -1.0), "scheduler.final is -1.0"),
        (lambda o: schedulers.onecycle(o, 10, 1.5), "scheduler.pct_start is 1.5"),
        (lambda o: schedulers.plateau(o, 10, 1.0, 2), "scheduler.factor is 1.0"),
        (lambda o: schedulers.plateau(o, 10, -0.5, 2), "scheduler.factor is -0.5"),
    ],
)
def test_invalid_schedules_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make(optimizer_of())


def test_replay_repeats_the_rate_of_each_epoch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler, rates = schedulers.replay(optimizer, [0.4, 0.4, 0.04], steps=2), []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.04, 0.04, 0.04, 0.04])
