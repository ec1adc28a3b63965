"""A head that sees all stages."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from aimonk.inference.engine import fast_inference
from aimonk.models.all_stages import choose_stages
from aimonk.models.backbones import Backbone, create_backbone
from aimonk.models.classifier import Classifier


def tiny() -> Backbone:
    """Two stages that give maps, and one that gives a vector of 5 values."""
    stages = OrderedDict(
        low=nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU()),
        high=nn.Conv2d(4, 6, 3, 2),
        last=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)),
    )
    return Backbone("test", "tiny", stages, 5, (0.5,) * 3, (0.25,) * 3)


def test_features_are_the_means_of_all_maps_and_the_last_vector() -> None:
    backbone = tiny()
    joined = choose_stages(backbone, "all")
    assert list(joined.stages) == ["all"] and joined.features == 4 + 6 + 5
    assert joined.stages["all"].training
    images = torch.randn(2, 3, 32, 32)
    got = joined.stages["all"].eval()(images)
    low = backbone.stages["low"](images)
    high = backbone.stages["high"](low)
    expected = [low.flatten(2).mean(2), high.flatten(2).mean(2), backbone.stages["last"](high)]
    torch.testing.assert_close(got, torch.cat(expected, dim=1))


def test_last_stage_alone_is_the_backbone_itself() -> None:
    backbone = tiny()
    assert choose_stages(backbone, "last") is backbone
    single = Backbone("test", "one", OrderedDict(all=nn.Flatten()), 12, (0.5,) * 3, (0.25,) * 3)
    assert choose_stages(single, "all") is single


def test_counting_features_leaves_the_statistics_alone() -> None:
    backbone = tiny()
    before = backbone.stages["low"][1].running_mean.clone()
    choose_stages(backbone, "all")
    assert torch.equal(backbone.stages["low"][1].running_mean, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "name", "features"),
    [
        ("timm", "tf_efficientnet_lite0", 2096),
        ("torchvision", "resnet18", 1024),
        ("timm", "test_resnet", None),
    ],
)
def test_real_networks_and_their_engines(library: str, name: str, features: int | None) -> None:
    torch.manual_seed(0)
    classifier = Classifier(choose_stages(create_backbone(library, name, "random"), "all"), 3).eval()
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    prefix = classifier.prefix(1)
    with torch.inference_mode():
        expected = prefix(images)
        assert features in (None, expected.shape[1])
        torch.testing.assert_close(classifier.suffix(1)(expected), classifier(images))
    engine = fast_inference(prefix, images)
    assert engine.name == "fused"
    torch.testing.assert_close(engine(images), expected, rtol=1e-3, atol=1e-4)
