"""From a network to a file of torch.export, with the content of the ONNX file."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from aimonk.export.network import ExportedNetwork, silent, trace
from aimonk.export.onnx_export import WHITE
from aimonk.files.atomic import replacing
from aimonk.models.checkpoint import ModelInfo

LONGEST_SIDE = 2**16  # torch.export wants a bound, or products of sides could overflow
INFO_FILE = "aimonk.json"


class Resizing(nn.Module):
    """uint8 images [B, H, W, 3] of any size to [B, size, size, 3]; torch resizes bytes as Pillow does.

    With `pad`, a traced program refuses images of which less than two lines would be left.
    """

    def __init__(self, size: int, resize: str):
        super().__init__()
        self.size = size
        self.resize = resize

    def forward(self, images: Tensor) -> Tensor:
        sides, size, fitted = images.shape[1:3], self.size, [self.size] * 2
        if self.resize == "crop":
            shortest = torch.sym_min(*sides)
            for axis, side in enumerate(sides, start=1):
                images = images.index_select(axis, (side - shortest) // 2 + torch.arange(shortest))
        elif self.resize == "pad":
            longest = torch.sym_max(*sides)
            fitted = [torch.sym_max(1, round_ratio(size * side, longest)) for side in sides]
        images = images.permute(0, 3, 1, 2)
        images = nn.functional.interpolate(images, fitted, mode="bilinear", antialias=True)
        if self.resize == "pad":
            top, left = ((size - side) // 2 for side in fitted)
            borders = [left, size - fitted[1] - left, top, size - fitted[0] - top]
            images = nn.functional.pad(images, borders, value=WHITE)
        return images.permute(0, 2, 3, 1)


def round_ratio(numerator: int, denominator: int) -> int:
    """The ratio, rounded half to even as by the decoder; torch.export cannot trace floats."""
    down = (2 * numerator + denominator - 1) // (2 * denominator)
    up = (2 * numerator + denominator) // (2 * denominator)
    return down + (up - down) * (down % 2)


def save_pt2(path: Path, network: ExportedNetwork, info: ModelInfo, facts: dict[str, str]) -> None:
    """Write a program of uint8 images [B, H, W, 3] of any size; its facts are in the extra file INFO_FILE.

    Raises:
        ValueError: torch.export does not support the network.
    """
    model = nn.Sequential(Resizing(info.image_size, info.resize), network).eval()
    example = torch.zeros(2, info.image_size + 8, info.image_size + 16, 3, dtype=torch.uint8)
    names = (Dim("batch"), Dim("height", max=LONGEST_SIDE), Dim("width", max=LONGEST_SIDE))
    program = trace(model, example, names)
    content = json.dumps(asdict(info) | facts, ensure_ascii=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # with the paths of this machine
    buffer = io.BytesIO()  # given a path, the folder in the archive takes its name
    with silent():
        torch.export.save(program, buffer, extra_files={INFO_FILE: content})
    with replacing(path) as file:
        file.write(buffer.getbuffer())


class Pt2Model:
    """The program of a file that `save_pt2` wrote."""

    def __init__(self, path: Path):
        with silent():
            self.program = torch.export.load(path).module()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities [B, A] of uint8 images [B, H, W, 3] of any size."""
        return self.run(images)[0].astype(np.float64)

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities, float32 [B, A], and decisions, bool [B, A], of uint8 images [B, H, W, 3]."""
        probs, decisions = self.program(torch.tensor(images))
        return probs.numpy(), decisions.numpy()
