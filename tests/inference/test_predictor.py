import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aimonk.inference.predictor import predict_pixels
from aimonk.models.backbones import Backbone
from aimonk.models.classifier import Classifier

SIZE, CPU = 16, torch.device("cpu")


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    stage = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return Classifier(Backbone("test", "tiny", {"all": stage}, 8, (0.5,) * 3, (0.25,) * 3), 2).eval()


@pytest.mark.parametrize("count", [5, 70])  # few images are not worth a fast engine, many are
def test_logits_equal_the_classifier(classifier: Classifier, count: int) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, SIZE, SIZE), np.uint8))
    with torch.no_grad():
        expected = classifier(images)

    def pixels(rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        assert not views.any()
        return images[rows], torch.ones(len(rows), dtype=torch.bool)

    logits = predict_pixels(classifier, pixels, count, 32, CPU)
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_deleted_image_raises(classifier: Classifier) -> None:
    def pixels(rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(rows), 3, SIZE, SIZE, dtype=torch.uint8), rows != 2

    with pytest.raises(ValueError, match=r"^1 image can no longer be read"):
        predict_pixels(classifier, pixels, 5, 4, CPU)
