"""The network of an exported model: from resized images to probabilities and decisions."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator

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


def trace(network: nn.Module, example: Tensor, names: tuple[Dim, ...]) -> ExportedProgram:
    """The program of a network of uint8 images.

    Args:
        example: With other sizes than 1 in the dimensions that may vary.
        names: Of these dimensions, the first ones.

    Raises:
        ValueError: torch.export does not support the network.
    """
    try:
        with silent():
            return torch.export.export(network, (example,), dynamic_shapes=(dict(enumerate(names)),))
    except Exception as error:  # torch.export raises exceptions of many types
        raise ValueError(f"torch.export does not support this network ({first_line(error)})") from None


def trace_square(network: nn.Module, size: int) -> ExportedProgram:
    """The program of a network for any number of square images; errors as `trace`."""
    return trace(network, torch.zeros(2, size, size, 3, dtype=torch.uint8), (Dim("batch"),))


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the progress and the warnings of an exporter off the terminal and out of the log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def first_line(error: Exception) -> str:
    """The beginning of a message, or the type of an error without one."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
