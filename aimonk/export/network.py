"""The network of an exported model: from resized images to probabilities and decisions."""

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from aimonk.models.checkpoint import ModelInfo
from aimonk.models.classifier import Classifier


class ExportedNetwork(nn.Module):
    """A classifier with its calibration and thresholds.

    Args:
        classifier: On the CPU; copied.
        dtype: Of the stages; normalisation, head and calibration are in single precision.
    """

    def __init__(self, classifier: Classifier, info: ModelInfo, dtype: torch.dtype):
        super().__init__()
        self.classifier = copy.deepcopy(classifier).eval().requires_grad_(False)
        self.classifier.stages.to(dtype)
        self.dtype = dtype
        for name in ("scale", "bias", "thresholds"):
            self.register_buffer(name, torch.tensor(getattr(info, name)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities [B, A] and decisions [B, A] of uint8 images [B, size, size, 3]."""
        values = self.classifier.normalise(images.permute(0, 3, 1, 2)).to(self.dtype)
        for stage in self.classifier.stages.values():
            values = stage(values)
        logits = self.classifier.head(values.float())
        probs = torch.sigmoid(self.scale * logits + self.bias)
        return probs, probs >= self.thresholds


def trace(network: nn.Module, size: int) -> ExportedProgram:
    """The program of a network for any number of square images.

    Raises:
        ValueError: torch.export does not support the network.
    """
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    try:
        return torch.export.export(network, (example,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # torch.export raises exceptions of many types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"torch.export does not support this network ({reason[:300]})") from None
