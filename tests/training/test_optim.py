"""Parameter groups, and the schedules' rates step by step against their formulas and torch."""

import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from aimonk.models.backbones import Backbone, create_backbone
from aimonk.models.classifier import Classifier
from aimonk.training import optim

HALF = (0.5, 0.5, 0.5)
BETAS = (0.9, 0.999)


class Scaled(nn.Module):
    """A layer with parameters of its own: a scale shaped for maps, and a table of biases."""

    def __init__(self):
        super().__init__()
        self.layer_scale = nn.Parameter(torch.ones(4, 1, 1))
        self.position_bias = nn.Parameter(torch.zeros(5, 2))

    def forward(self, images):
        return self.layer_scale * images


@pytest.fixture
def classifier() -> Classifier:
    """Three stages with a convolution, two norms, and parameters outside of both; one attribute."""
    stages = OrderedDict(
        low=nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        middle=nn.Sequential(Scaled(), nn.Conv2d(4, 1, 1), nn.GroupNorm(1, 1)),
        high=nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm([4]), nn.Linear(4, 6)),
    )
    return Classifier(Backbone("test", "tiny", stages, 6, HALF, HALF), 1)


def names_of(classifier: Classifier, group: dict) -> set[str]:
    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    return {names[id(parameter)] for parameter in group["params"]}


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


def test_groups_spare_biases_norms_and_scales(classifier):
    groups = optim.parameter_groups(classifier, 0, lr=1e-3, weight_decay=0.1, backbone_lr_scale=0.5)
    told = {
        group["name"]: (names_of(classifier, group), group["lr"], group["weight_decay"]) for group in groups
    }
    assert told == {
        # a head for one attribute is a vector too, and decays
        "head": ({"head.weight"}, 1e-3, 0.1),
        "head without decay": ({"head.bias"}, 1e-3, 0.0),
        "backbone": (
            {"stages.low.0.weight", "stages.middle.1.weight", "stages.high.3.weight"},
            5e-4,
            0.1,
        ),
        "backbone without decay": (
            {
                "stages.low.0.bias",
                "stages.low.1.weight",
                "stages.low.1.bias",
                "stages.middle.0.layer_scale",
                "stages.middle.0.position_bias",
                "stages.middle.1.bias",
                "stages.middle.2.weight",
                "stages.middle.2.bias",
                "stages.high.2.weight",
                "stages.high.2.bias",
                "stages.high.3.bias",
            },
            5e-4,
            0.0,
        ),
    }


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_each_parameter_above_the_cut_is_there_once(classifier, cut):
    groups = optim.parameter_groups(classifier, cut, 1e-3, 0.1, 1.0)
    given = [parameter for group in groups for parameter in group["params"]]
    assert len(given) == len({id(parameter) for parameter in given})
    above = tuple(f"stages.{name}." for name in list(classifier.stages)[cut:])
    expected = {name for name, _ in classifier.named_parameters() if name.startswith((*above, "head."))}
    assert {name for group in groups for name in names_of(classifier, group)} == expected
    assert all(group["params"] for group in groups)


def test_a_parameter_used_twice_is_there_once(classifier):
    classifier.stages["high"][3].bias = classifier.stages["high"][2].bias
    given = [p for group in optim.parameter_groups(classifier, 0, 1e-3, 0.1, 1.0) for p in group["params"]]
    assert len(given) == len({id(parameter) for parameter in given})


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "mobilenet_v3_large"])
def test_groups_of_real_networks(name):
    with torch.device("meta"):
        classifier = Classifier(create_backbone("torchvision", name, "random"), 4)
    groups = {
        g["name"]: names_of(classifier, g) for g in optim.parameter_groups(classifier, 0, 1e-3, 0.1, 1.0)
    }
    modules = dict(classifier.named_modules())
    kinds = {type(modules[n.rpartition(".")[0]]) for n in groups["backbone"]}
    assert kinds <= {nn.Conv2d, nn.Linear}
    assert all(n.endswith((".weight", ".bias", ".layer_scale")) for n in groups["backbone without decay"])
    assert sum(len(names) for names in groups.values()) == len(list(classifier.parameters()))


@pytest.mark.parametrize(
    ("make", "kind", "own"),
    [
        (lambda c: optim.adam(c, 1, 0.1, list(BETAS), 0.3, 0.5), torch.optim.Adam, {"betas": BETAS}),
        (lambda c: optim.adamw(c, 1, 0.1, list(BETAS), 0.3, 0.5), torch.optim.AdamW, {"betas": BETAS}),
        (
            lambda c: optim.sgd(c, 1, 0.1, 0.9, True, 0.3, 0.5),
            torch.optim.SGD,
            {"momentum": 0.9, "nesterov": True},
        ),
    ],
)
def test_optimizers_have_the_groups_and_what_they_are_given(classifier, make, kind, own):
    optimizer = make(classifier)
    assert type(optimizer) is kind
    expected = optim.parameter_groups(classifier, 1, 0.1, 0.3, 0.5)
    assert len(optimizer.param_groups) == 4
    for group, wanted in zip(optimizer.param_groups, expected, strict=True):
        assert {key: group[key] for key in own} == own
        assert {key: group[key] for key in ("name", "lr", "weight_decay")} == {
            key: wanted[key] for key in ("name", "lr", "weight_decay")
        }
        assert all(a is b for a, b in zip(group["params"], wanted["params"], strict=True))


def test_a_step_moves_the_backbone_by_its_share_and_leaves_the_frozen_stage(classifier):
    before = {name: value.detach().clone() for name, value in classifier.named_parameters()}
    optimizer = optim.sgd(classifier, 1, 0.1, 0.0, False, 0.0, 0.25)
    for parameter in classifier.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, value in classifier.named_parameters():
        moved = 0.0 if name.startswith("stages.low") else 0.1 if name.startswith("head") else 0.025
        torch.testing.assert_close(before[name] - value, torch.full_like(value, moved), msg=name)


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", -0.1), ("lr", math.nan), ("weight_decay", -1.0), ("backbone_lr_scale", -1.0), ("lr", math.inf)],
)
def test_rates_that_make_no_sense(classifier, key, value):
    settings = {"lr": 0.1, "weight_decay": 0.1, "backbone_lr_scale": 1.0, key: value}
    with pytest.raises(ValueError, match=f"optimizer.{key} is {value}"):
        optim.adamw(classifier, 0, betas=BETAS, **settings)


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_constant(steps):
    assert rates(optim.constant(optimizer_of(0.3), steps, 0.0), steps) == [0.3] * steps


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_cosine_equals_torch(steps, final):
    theirs = CosineAnnealingLR(optimizer_of(0.3), T_max=steps, eta_min=0.3 * final)
    ours = optim.cosine(optimizer_of(0.3), steps, 0.0, final)
    assert rates(ours, steps) == pytest.approx(rates(theirs, steps), rel=1e-6)


def test_warmup_rises_evenly_to_the_full_rate():
    # two of eight steps
    assert rates(optim.constant(optimizer_of(3.0), 8, 0.25), 8) == pytest.approx([1, 2, 3, 3, 3, 3, 3, 3])
    half = [0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
    assert rates(optim.cosine(optimizer_of(3.0), 8, 0.25, 0.0), 8) == pytest.approx(
        [1, 2, *(3 * h for h in half)]
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.5, 0.99])
def test_tiny_runs_with_warmup(steps, warmup):
    for scheduler in (
        optim.constant(optimizer_of(), steps, warmup),
        optim.cosine(optimizer_of(), steps, warmup, 0.0),
    ):
        found = rates(scheduler, steps)
        assert all(0 < rate <= 1 for rate in found)


@pytest.mark.parametrize("steps", [2, 7, 100])
@pytest.mark.parametrize("pct_start", [0.0, 0.3, 0.9])
def test_onecycle_equals_torch(steps, pct_start):
    theirs = OneCycleLR(optimizer_of(), 0.3, total_steps=steps, pct_start=pct_start, cycle_momentum=False)
    assert rates(optim.onecycle(optimizer_of(0.3), steps, pct_start), steps) == pytest.approx(
        rates(theirs, steps), rel=1e-6
    )


@pytest.mark.parametrize(
    ("steps", "pct_start"), [(1, 0.3), (1, 1.0), (1, 0.0), (2, 0.5), (10, 0.1), (4, 0.25)]
)
def test_onecycle_where_torch_divides_by_zero(steps, pct_start):
    found = rates(optim.onecycle(optimizer_of(0.3), steps, pct_start), steps)
    assert all(0 < rate <= 0.3 for rate in found)
    if pct_start * steps == 1:
        assert found[0] == 0.3 and found == sorted(found, reverse=True)
    if pct_start == 1:
        assert found[-1] == 0.3 and found == sorted(found)


def test_onecycle_leaves_momentum_alone(classifier):
    optimizer = optim.adamw(classifier, 0, 0.1, BETAS, 0.1, 0.5)
    scheduler = optim.onecycle(optimizer, 10, 0.3)
    assert all(group["betas"] == BETAS for group in optimizer.param_groups)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
        assert all(group["betas"] == BETAS for group in optimizer.param_groups)
        heads, backbones = optimizer.param_groups[:2], optimizer.param_groups[2:]
        assert all(b["lr"] == pytest.approx(h["lr"] / 2) for h, b in zip(heads, backbones, strict=True))


def test_schedules_survive_more_steps_than_planned():
    for scheduler in (
        optim.constant(optimizer_of(), 3, 0.5),
        optim.cosine(optimizer_of(), 3, 0.0, 0.1),
        optim.onecycle(optimizer_of(), 3, 0.3),
    ):
        late = rates(scheduler, 10)[4:]
        assert len(set(late)) == 1 and late[0] >= 0


def test_schedules_continue_from_their_state():
    whole = rates(optim.onecycle(optimizer_of(), 10, 0.3), 10)
    first = optim.onecycle(optimizer_of(), 10, 0.3)
    begun = rates(first, 4)
    second = optim.onecycle(optimizer_of(), 10, 0.3)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert begun + rates(second, 6) == whole


@pytest.mark.parametrize("sign", [1, -1])
def test_plateau_waits_for_more_than_patience_epochs(sign):
    # a score such as minus the loss is below zero
    best = 0.5 * sign
    optimizer = optimizer_of()
    scheduler = optim.plateau(optimizer, 100, factor=0.1, patience=2)
    found = []
    for score in [best, best, best - 0.01, best + 1e-6, best, best + 1e-6, best, best]:
        scheduler.step(score)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([1, 1, 1, 1, 1, 1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: optim.constant(o, 10, 1.0), "scheduler.warmup is 1.0"),
        (lambda o: optim.cosine(o, 10, -0.1, 0.0), "scheduler.warmup is -0.1"),
        (lambda o: optim.cosine(o, 10, 0.0, -1.0), "scheduler.final is -1.0"),
        (lambda o: optim.onecycle(o, 10, 1.5), "scheduler.pct_start is 1.5"),
        (lambda o: optim.plateau(o, 10, 1.0, 2), "scheduler.factor is 1.0"),
        (lambda o: optim.plateau(o, 10, -0.5, 2), "scheduler.factor is -0.5"),
    ],
)
def test_schedules_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make(optimizer_of())
