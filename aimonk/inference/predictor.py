"""Fast predictions of a trained classifier for many images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aimonk.files.text import plural
from aimonk.inference.engine import fast_inference
from aimonk.inference.onnx_file import OnnxModel, read_onnx
from aimonk.models.checkpoint import ModelInfo, load_model
from aimonk.models.classifier import Classifier
from aimonk.runtime.progress import show_progress

SEVERAL = 64  # images from which on optimising the network takes less time than it saves


class Predictor:
    """Logits of batches of images.

    Args:
        count: Number of images; optimising the network takes longer than predicting a few.
    """

    def __init__(self, classifier: Classifier, device: torch.device, count: int):
        classifier.to(device, memory_format=torch.channels_last).eval()
        self.body: Callable = classifier.prefix(len(classifier.stages))
        self.head = classifier.head
        self.device = device
        self.optimise = False
        self.expect(count)

    def expect(self, count: int) -> None:
        """Prepare for so many further images."""
        if self.device.type == "cpu" and count >= SEVERAL and isinstance(self.body, nn.Module):
            self.optimise = True

    def __call__(self, images: Tensor) -> Tensor:
        """Logits [B, A] on the CPU of uint8 images [B, 3, H, W]."""
        return self.with_features(images)[0]

    @torch.inference_mode()
    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, A] and the features behind them [B, D], both on the CPU."""
        if self.optimise:
            self.body = fast_inference(self.body, images)
            self.optimise = False
        features = self.body(images.to(self.device, non_blocking=True))
        return self.head(features).float().cpu(), features.float().cpu()


class CalibratedModel:
    """Calibrated probabilities of a checkpoint; OnnxModel has the same interface, without features.

    Args:
        count: As of Predictor.
    """

    def __init__(self, classifier: Classifier, info: ModelInfo, device: torch.device, count: int):
        self.info = info
        self.predictor = Predictor(classifier, device, count)

    def expect(self, count: int) -> None:
        """Prepare for so many further images."""
        self.predictor.expect(count)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities [B, A] of uint8 images [B, image_size, image_size, 3]."""
        return self.with_features(images)[0]

    def with_features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [B, A], and the inputs of the head, float32 [B, D]."""
        logits, features = self.predictor.with_features(torch.from_numpy(images).permute(0, 3, 1, 2))
        calibrated = torch.tensor(self.info.scale) * logits + torch.tensor(self.info.bias)
        return torch.sigmoid(calibrated.double()).numpy(), features.numpy()


def open_model(source: Path, device: torch.device, count: int) -> CalibratedModel | OnnxModel:
    """The model of a checkpoint, a run folder or an exported file (.onnx), for about `count` images.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is not a valid model.
    """
    if source.suffix.lower() == ".onnx" and not source.is_dir():
        return read_onnx(source, torch.get_num_threads())
    return CalibratedModel(*load_model(source), device, count)


def predict_pixels(
    classifier: Classifier, pixels: Callable, count: int, batch_size: int, device: torch.device
) -> np.ndarray:
    """Logits [count, A] of the images that `pixels(rows, views)` gives.

    Raises:
        ValueError: Some images can no longer be read.
    """
    predictor, parts = Predictor(classifier, device, count), []
    with show_progress("images", count) as bar:
        for start in range(0, count, batch_size):
            rows = torch.arange(start, min(start + batch_size, count))
            images, exists = pixels(rows, torch.zeros_like(rows))
            if not exists.all():
                raise ValueError(f"{plural(int((~exists).sum()), 'image')} can no longer be read")
            parts.append(predictor(images))
            bar.advance(len(rows))
    return torch.cat(parts).double().numpy()
