"""From uint8 images to logits: what is refused, what pixels become, that frozen stages stay as they are."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import functional

from aimonk.models.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, create_backbone
from aimonk.models.classifier import Classifier, Normalise
from aimonk.training.losses import MaskedLoss
from aimonk.training.optimizers import adamw

STAGES = ["low", "middle", "high"]


def make_classifier(attributes: int = 2) -> Classifier:
    """Three stages with BatchNorm and dropout, which both depend on the mode."""
    torch.manual_seed(0)

    def stage(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU(), nn.Dropout(0.2)
        )

    high = nn.Sequential(stage(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    stages = OrderedDict(low=stage(3, 8), middle=stage(8, 8), high=high)
    return Classifier(Backbone("test", "tiny", stages, 8, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), attributes)


def make_images(count: int = 4) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def copy_state(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in classifier.state_dict().items()}


def train_some_steps(classifier: Classifier, steps: int = 3) -> None:
    """As the training loop does it, over all stages, frozen or not."""
    images, labels = make_images(), torch.tensor([[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2)
    optimizer = adamw(classifier, 0, 0.1, (0.9, 0.999), 0.1, 1.0, 1.0)
    for _ in range(steps):
        classifier.train()
        MaskedLoss()(classifier(images), labels, torch.ones(4, 2, dtype=torch.bool)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 16, 16, dtype=torch.uint8),
        torch.zeros(2, 16, 16, 3, dtype=torch.uint8),
        torch.zeros(2, 1, 16, 16, dtype=torch.uint8),
        torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8),
    ],
    ids=lambda images: str(list(images.shape)),
)
def test_other_shapes_than_rgb_batches_raise(images):
    with pytest.raises(ValueError) as caught:
        make_classifier()(images)
    assert str(caught.value) == f"images should be [B, 3, H, W]. Got {list(images.shape)}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.float16, torch.int8])
def test_other_types_than_uint8_raise(dtype):
    with pytest.raises(ValueError) as caught:
        make_classifier()(make_images().to(dtype))
    assert str(caught.value) == f"images should be uint8, 0 to 255. Got {dtype}"


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_normalisation_equals_torchvision(memory_format):
    images = make_images().contiguous(memory_format=memory_format)
    expected = functional.normalize(images.float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(Normalise(IMAGENET_MEAN, IMAGENET_STD)(images), expected)


def test_normalisation_of_black_and_white():
    normalise = make_classifier().normalise
    black, white = (
        normalise(torch.full((1, 3, 1, 1), value, dtype=torch.uint8)).flatten() for value in (0, 255)
    )
    torch.testing.assert_close(black, torch.tensor([-0.5 / 0.2, -0.4 / 0.3, -0.3 / 0.4]))
    torch.testing.assert_close(white, torch.tensor([0.5 / 0.2, 0.6 / 0.3, 0.7 / 0.4]))


@pytest.mark.parametrize("attributes", [1, 2, 40])
def test_one_logit_per_attribute(attributes):
    assert make_classifier(attributes)(make_images()).shape == (4, attributes)


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_prefix_and_suffix_equal_the_network(cut):
    classifier = make_classifier().eval()
    images = make_images()
    features = classifier.prefix(cut)(images)
    assert torch.equal(classifier.suffix(cut)(features), classifier(images))
    assert (features.dtype == torch.uint8) == (cut == 0)
    shared = {id(p) for p in (*classifier.prefix(cut).parameters(), *classifier.suffix(cut).parameters())}
    assert shared == {id(p) for p in classifier.parameters()}


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_frozen_stages_stay_bit_identical_in_training(cut):
    classifier = make_classifier()
    classifier.freeze(cut)
    before = copy_state(classifier)
    train_some_steps(classifier)
    frozen = tuple(f"stages.{name}." for name in STAGES[:cut])
    for key, value in classifier.state_dict().items():
        same = torch.equal(before[key], value)
        assert same == key.startswith((*frozen, "normalise.")), key


def test_frozen_stages_stay_in_eval_mode():
    classifier = make_classifier()
    classifier.freeze(2)
    for call in (classifier.train, lambda: classifier.train(True), classifier.eval, classifier.train):
        call()
        modes = {name: {m.training for m in stage.modules()} for name, stage in classifier.stages.items()}
        assert modes == {"low": {False}, "middle": {False}, "high": {classifier.training}}
    assert classifier.train() is classifier and classifier.head.training


def test_kept_statistics_stay_while_the_weights_train():
    classifier = make_classifier()
    classifier.keeps_statistics = True
    classifier.freeze(1)
    before = copy_state(classifier)
    train_some_steps(classifier)
    statistics = [key for key in before if key.endswith(("running_mean", "running_var"))]
    assert statistics
    for key, value in classifier.state_dict().items():
        fixed = key.startswith(("stages.low.", "normalise.")) or "running" in key or "num_batches" in key
        assert torch.equal(before[key], value) == fixed, key
    # everything else trains as before
    assert classifier.stages["middle"].training and classifier.head.training


def test_freezing_can_be_undone():
    classifier = make_classifier().eval()
    classifier.freeze(3)
    assert not any(module.training for module in classifier.modules())
    assert [name for name, p in classifier.named_parameters() if p.requires_grad] == [
        "head.weight",
        "head.bias",
    ]
    classifier.train()
    classifier.freeze(1)
    assert not classifier.stages["low"].training and classifier.stages["middle"].training
    classifier.freeze(0)
    assert all(module.training for module in classifier.modules())
    assert all(parameter.requires_grad for parameter in classifier.parameters())


def test_later_stages_unfreeze_first():
    classifier = make_classifier()
    for cut in (3, 2, 0):
        before = copy_state(classifier)
        classifier.freeze(cut)
        train_some_steps(classifier, steps=1)
        moved = {
            key.split(".")[1] for key, v in classifier.state_dict().items() if not torch.equal(v, before[key])
        }
        assert moved - {"weight", "bias"} == set(STAGES[cut:])


def test_names_of_the_weights_are_stable():
    with torch.device("meta"):
        keys = list(Classifier(create_backbone("torchvision", "resnet18", "random"), 2).state_dict())
    assert keys[:4] == ["normalise.mean", "normalise.std", "stages.stem.0.weight", "stages.stem.1.weight"]
    assert {"stages.layer1.0.conv1.weight", "stages.layer4.1.bn2.running_var"} <= set(keys)
    assert keys[-2:] == ["head.weight", "head.bias"] and len(keys) == 124
    with torch.device("meta"):
        keys = list(Classifier(create_backbone("timm", "tf_efficientnet_lite0", "random"), 2).state_dict())
    assert {"stages.stem.0.weight", "stages.blocks0.0.conv_dw.weight", "stages.final.0.weight"} <= set(keys)
    assert len(keys) == 298


def test_weights_do_not_depend_on_freezing():
    classifier = make_classifier()
    keys = list(classifier.state_dict())
    classifier.freeze(2)
    classifier.suffix(1)
    assert list(classifier.state_dict()) == keys
