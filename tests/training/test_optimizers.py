"""Parameter groups of a classifier and the optimizers over them."""

import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from aimonk.models.backbones import Backbone, create_backbone
from aimonk.models.classifier import Classifier
from aimonk.training import optimizers

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


def test_biases_norms_and_scales_have_no_weight_decay(classifier):
    groups = optimizers.parameter_groups(classifier, 0, 1e-3, 0.1, backbone_lr_scale=0.5, layer_decay=1.0)
    groups = {
        group["name"]: (names_of(classifier, group), group["lr"], group["weight_decay"]) for group in groups
    }
    assert groups == {
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
def test_groups_hold_each_trainable_parameter_once(classifier, cut):
    groups = optimizers.parameter_groups(classifier, cut, 1e-3, 0.1, 1.0, 1.0)
    given = [parameter for group in groups for parameter in group["params"]]
    assert len(given) == len({id(parameter) for parameter in given})
    above = tuple(f"stages.{name}." for name in list(classifier.stages)[cut:])
    expected = {name for name, _ in classifier.named_parameters() if name.startswith((*above, "head."))}
    assert {name for group in groups for name in names_of(classifier, group)} == expected
    assert all(group["params"] for group in groups)


def test_shared_parameter_is_in_one_group(classifier):
    classifier.stages["high"][3].bias = classifier.stages["high"][2].bias
    given = [
        p
        for group in optimizers.parameter_groups(classifier, 0, 1e-3, 0.1, 1.0, 1.0)
        for p in group["params"]
    ]
    assert len(given) == len({id(parameter) for parameter in given})


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "mobilenet_v3_large"])
def test_groups_of_real_networks(name):
    with torch.device("meta"):
        classifier = Classifier(create_backbone("torchvision", name, "random"), 4)
    groups = {
        g["name"]: names_of(classifier, g)
        for g in optimizers.parameter_groups(classifier, 0, 1e-3, 0.1, 1.0, 1.0)
    }
    modules = dict(classifier.named_modules())
    kinds = {type(modules[n.rpartition(".")[0]]) for n in groups["backbone"]}
    assert kinds <= {nn.Conv2d, nn.Linear}
    assert all(n.endswith((".weight", ".bias", ".layer_scale")) for n in groups["backbone without decay"])
    assert sum(len(names) for names in groups.values()) == len(list(classifier.parameters()))


@pytest.mark.parametrize(
    ("make", "kind", "own"),
    [
        (
            lambda c: optimizers.adam(c, 1, 0.1, list(BETAS), 0.3, 0.5, 1.0),
            torch.optim.Adam,
            {"betas": BETAS},
        ),
        (
            lambda c: optimizers.adamw(c, 1, 0.1, list(BETAS), 0.3, 0.5, 1.0),
            torch.optim.AdamW,
            {"betas": BETAS},
        ),
        (
            lambda c: optimizers.sgd(c, 1, 0.1, 0.9, True, 0.3, 0.5, 1.0),
            torch.optim.SGD,
            {"momentum": 0.9, "nesterov": True},
        ),
    ],
)
def test_optimizers_get_groups_and_settings(classifier, make, kind, own):
    optimizer = make(classifier)
    assert type(optimizer) is kind
    expected = optimizers.parameter_groups(classifier, 1, 0.1, 0.3, 0.5, 1.0)
    assert len(optimizer.param_groups) == 4
    for group, wanted in zip(optimizer.param_groups, expected, strict=True):
        assert {key: group[key] for key in own} == own
        assert {key: group[key] for key in ("name", "lr", "weight_decay")} == {
            key: wanted[key] for key in ("name", "lr", "weight_decay")
        }
        assert all(a is b for a, b in zip(group["params"], wanted["params"], strict=True))


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_layer_decay_lowers_the_rate_from_stage_to_stage(classifier, cut):
    groups = optimizers.parameter_groups(classifier, cut, 0.1, 0.3, backbone_lr_scale=0.5, layer_decay=0.6)
    rates = {name: group["lr"] for group in groups for name in names_of(classifier, group)}
    # 0.1 * 0.5 * 0.6 ** distance from the head
    expected = {"high": 0.03, "middle": 0.018, "low": 0.0108}
    stages = list(classifier.stages)[cut:]
    assert {name.split(".")[1] for name in rates if name.startswith("stages.")} == set(stages)
    for name, rate in rates.items():
        assert rate == pytest.approx(0.1 if name.startswith("head.") else expected[name.split(".")[1]])
    plain = optimizers.parameter_groups(classifier, cut, 0.1, 0.3, 0.5, 1.0)
    decays = [
        {name: group["weight_decay"] for group in some for name in names_of(classifier, group)}
        for some in (groups, plain)
    ]
    assert decays[0] == decays[1]
    assert sum(len(group["params"]) for group in groups) == len(rates)


def test_step_scales_the_backbone_and_skips_frozen_stages(classifier):
    before = {name: value.detach().clone() for name, value in classifier.named_parameters()}
    optimizer = optimizers.sgd(classifier, 1, 0.1, 0.0, False, 0.0, 0.25, 1.0)
    for parameter in classifier.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, value in classifier.named_parameters():
        moved = 0.0 if name.startswith("stages.low") else 0.1 if name.startswith("head") else 0.025
        torch.testing.assert_close(before[name] - value, torch.full_like(value, moved), msg=name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", -0.1),
        ("lr", math.nan),
        ("weight_decay", -1.0),
        ("backbone_lr_scale", -1.0),
        ("lr", math.inf),
        ("layer_decay", 0.0),
        ("layer_decay", 1.1),
        ("layer_decay", math.nan),
    ],
)
def test_invalid_rates_raise(classifier, key, value):
    settings = {"lr": 0.1, "weight_decay": 0.1, "backbone_lr_scale": 1.0, "layer_decay": 1.0}
    settings[key] = value
    with pytest.raises(ValueError, match=f"optimizer.{key} is {value}"):
        optimizers.adamw(classifier, 0, betas=BETAS, **settings)
