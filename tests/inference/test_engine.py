import logging

import pytest
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn

from aimonk.inference.engine import TOLERANCE, fast_inference
from aimonk.inference.fusion import ACTIVATIONS, fuse
from aimonk.models.backbones import create_backbone
from aimonk.models.classifier import Classifier, Normalise

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch lacks oneDNN")


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def randomise(module: nn.Module) -> nn.Module:
    """Statistics and weights as after some training, so that nothing is folded away by being 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(part.bias, 0, 0.2, generator=generator)
    return module.eval()


def draw_images(batch: int, size: int = 64, width: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, 3, size, width or size), dtype=torch.uint8, generator=generator)


def relative_error(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return ((got - expected).abs().max() / expected.abs().max()).item()


def small(*modules: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return randomise(nn.Sequential(Normalise((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)), *modules))


@torch.inference_mode()
def fused_error(module: nn.Module, images: Tensor) -> float:
    network, _ = fuse(module, images)
    return relative_error(network(images), module(images))


BACKBONES = [
    ("timm", "tf_efficientnet_lite0"),
    ("torchvision", "resnet18"),
    ("torchvision", "efficientnet_b0"),
    ("torchvision", "mobilenet_v3_large"),
    ("timm", "mobilenetv4_conv_small"),
    ("timm", "regnety_002"),
]


@pytest.mark.parametrize(("library", "name"), BACKBONES)
@pytest.mark.slow
def test_backbones_are_fused_and_agree(library: str, name: str):
    torch.manual_seed(0)
    classifier = randomise(Classifier(create_backbone(library, name, "random"), 4))
    images = draw_images(5, 65, 70)  # odd sizes: uneven padding on one side only
    engine = fast_inference(classifier.suffix(0), images[:2])
    assert engine.name == "fused"
    with torch.inference_mode():
        assert relative_error(engine(images), classifier(images)) < TOLERANCE


@pytest.mark.parametrize("cut", [1, 3])
def test_prefix_is_fused_and_agrees(cut: int):
    torch.manual_seed(0)
    prefix = (
        randomise(Classifier(create_backbone("timm", "tf_efficientnet_lite0", "random"), 4))
        .prefix(cut)
        .eval()
    )
    images = draw_images(7)
    engine = fast_inference(prefix, images)
    assert engine.name == "fused"
    with torch.inference_mode():
        assert relative_error(engine(images), prefix(images)) < TOLERANCE


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 11])
@pytest.mark.parametrize("threads", [1, 3])
def test_any_batch_size_and_number_of_threads(batch: int, threads: int):
    module = small(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    engine = fast_inference(module, draw_images(2))
    engine.group = 2
    torch.set_num_threads(threads)
    images = draw_images(batch)
    for laid_out in (images, images.contiguous(memory_format=torch.channels_last)):
        with torch.inference_mode():
            assert relative_error(engine(laid_out), module(images)) < 1e-5
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: type[nn.Module]):
    assert fused_error(small(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), activation()), draw_images(2)) < 1e-5
    assert (
        fused_error(small(nn.Conv2d(3, 8, 3), BatchNormAct2d(8, act_layer=activation)), draw_images(2)) < 1e-5
    )


@pytest.mark.parametrize("size", [15, 16, 17])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("groups", [1, 3])
def test_tensorflow_padding(size: int, stride: int, kernel: int, groups: int):
    module = small(Conv2dSame(3, 6, kernel, stride, groups=groups, bias=False), nn.BatchNorm2d(6))
    assert fused_error(module, draw_images(2, size, 18)) < 1e-5


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 6, (3, 5), (2, 1), (0, 3), (2, 1), 3),
        nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 6, 3, padding="same"),
        Conv2dSame(3, 6, 3, 2, dilation=2, groups=3),
    ],
)
@pytest.mark.parametrize("affine", [True, False])
def test_unusual_convolutions(conv: nn.Conv2d, affine: bool):
    tail = nn.Conv2d(6, 6, 1)  # there is always something to fuse
    assert fused_error(small(conv, nn.BatchNorm2d(6, affine=affine), nn.ReLU(), tail), draw_images(2)) < 1e-5


def test_fused_modules_are_replaced():
    network, largest = fuse(small(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6()), draw_images(1))
    left = {type(part).__name__ for part in network.modules()} - {"Sequential"}
    assert left == {"Normalise", "FusedConv", "Identity"}
    assert largest == 4 * 8 * 62 * 62


class Residual(nn.Module):
    """Calls its activation twice, as torchvision's ResNets do."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)


def test_repeated_activation_is_not_fused():
    assert fused_error(small(Residual(), Residual()), draw_images(2)) < 1e-5


class Peek(nn.Module):
    """Uses what a convolution gives before the BatchNorm sees it, which recording calls does not show."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.bn(x) + x


def test_eager_engine_if_outputs_differ(caplog: pytest.LogCaptureFixture):
    module, images = small(Peek()), draw_images(3)
    with caplog.at_level(logging.DEBUG, "aimonk"):
        engine = fast_inference(module, images)
    assert engine.name == "eager"
    assert "outputs differ" in caplog.text and len(caplog.records) == 1
    with torch.inference_mode():
        assert torch.equal(engine(images), module(images))


def test_eager_engine_without_batchnorm(monkeypatch, caplog: pytest.LogCaptureFixture):
    module, images = small(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)), draw_images(2)
    with caplog.at_level(logging.DEBUG, "aimonk"):
        assert fast_inference(small(nn.Conv2d(3, 3, 3)), images).name == "eager"
        assert fast_inference(small(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)), images).name == "eager"
        monkeypatch.setattr(torch.ops.mkldnn, "_reorder_convolution_weight", None)
        assert fast_inference(module, images).name == "eager"
    first, second, third = (record.getMessage() for record in caplog.records)
    assert "BatchNorm" in first and "no convolution" in second and "NoneType" in third


def test_modules_in_train_mode_are_not_fused():
    module = small(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)).train()
    before = module[2].running_mean.clone()
    assert fast_inference(module, draw_images(2)).name == "eager"
    assert torch.equal(module[2].running_mean, before)


def test_original_module_is_unchanged():
    module, images = small(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), draw_images(2)
    before = module(images)
    engine = fast_inference(module, images)
    nn.init.zeros_(module[1].weight)
    assert torch.allclose(engine(images), before, atol=1e-5)
    assert isinstance(module[2], nn.BatchNorm2d) and module[1].weight.requires_grad


def test_wrong_inputs_raise():
    engine = fast_inference(small(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), draw_images(2))
    assert engine.name == "fused"
    with pytest.raises(ValueError, match=r"\[2, 3, 32, 32\].*\[B, 3, 64, 64\]"):
        engine(draw_images(2, 32))
    with pytest.raises(ValueError, match="uint8"):
        engine(draw_images(2).float())
