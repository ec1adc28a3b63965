"""Heat maps: their mean is the logit without the bias, for every network whose features are means."""

import pytest
import torch

from aimonk.models.all_stages import choose_stages
from aimonk.models.backbones import create_backbone
from aimonk.models.classifier import Classifier
from aimonk.review.heat_maps import HeatMaps, weigh


@pytest.mark.parametrize(
    ("library", "name", "stages"),
    [
        ("timm", "efficientnet_lite0", "last"),
        ("timm", "efficientnet_lite0", "all"),
        ("torchvision", "resnet18", "last"),
        ("torchvision", "resnet18", "all"),
        ("timm", "regnetx_002", "last"),
    ],
)
def test_mean_of_the_map_is_the_logit(library: str, name: str, stages: str) -> None:
    torch.manual_seed(0)
    classifier = Classifier(choose_stages(create_backbone(library, name, "random"), stages), 3).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    maps = HeatMaps(classifier, torch.device("cpu"), image)
    assert maps.available
    other = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    vector, found = maps.features_and_map(other)
    with torch.inference_mode():
        logits = classifier(other)[0]
        means = weigh(found, classifier.head.weight.T).mean((1, 2)) + classifier.head.bias
        assert torch.allclose(means, logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max()))
        assert torch.allclose(classifier.head(vector)[0], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "convnext_tiny"])
def test_layers_behind_the_means_give_no_map(name: str) -> None:
    torch.manual_seed(0)
    classifier = Classifier(create_backbone("torchvision", name, "random"), 2).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    maps = HeatMaps(classifier, torch.device("cpu"), image)
    vector, found = maps.features_and_map(image)
    assert not maps.available and found is None
    with torch.inference_mode():
        assert torch.allclose(classifier.head(vector), classifier(image), rtol=1e-4, atol=1e-5)
