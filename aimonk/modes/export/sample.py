"""The images that an exported model is compared on."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aimonk.data.demo.dataset import draw_demo
from aimonk.data.images.folder import decode_all
from aimonk.files.text import plural
from aimonk.models.checkpoint import ModelInfo
from aimonk.modes.infer.images import find_paths

MOST_IMAGES = 200
MOST_BYTES = 1e9
DRAWN = 12

log = logging.getLogger(__name__)


@dataclass
class Sample:
    """Images that the exported file is compared on.

    Attributes:
        paths: N files.
        pixels: Decoded as by `mode=infer`, uint8 [N, size, size, 3].
        kind: `given` or `drawn`.
    """

    paths: list[Path]
    pixels: np.ndarray
    kind: str


@contextmanager
def sample_images(image: str | None, info: ModelInfo) -> Iterator[Sample]:
    """Decode the given images, at most MOST_IMAGES evenly spread ones, or drawn ones for None.

    Raises:
        FileNotFoundError: There are none.
        ValueError: None can be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        if image is None:
            drawn = draw_demo(Path(folder, "demo"), images=DRAWN, seed=0) / "images"
            paths = sorted(drawn.iterdir())
        else:
            paths = find_paths(str(image))
        most = int(min(MOST_IMAGES, max(1, MOST_BYTES // (3 * info.image_size**2))))
        rows = np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int))
        readable, pixels = [], []
        for row, result in decode_all(paths, info.image_size, info.resize, rows):
            if isinstance(result, str):
                log.warning("%s: %s", paths[row], result)
            else:
                readable.append(paths[row])
                pixels.append(result)
        if not readable:
            raise ValueError(f"none of {plural(len(rows), 'image')} could be read")
        yield Sample(readable, np.stack(pixels), "drawn" if image is None else "given")


def split_sample(sample: Sample, precision: str) -> tuple[np.ndarray, Sample]:
    """Images that calibrate a quantisation, uint8 [N, size, size, 3], and others to compare it on."""
    if precision != "int8" or len(sample.paths) == 1:
        return sample.pixels, sample
    log.info("calibrated on %d of the images, compared on the others", len(sample.paths[::2]))
    return sample.pixels[::2], Sample(sample.paths[1::2], sample.pixels[1::2], sample.kind)
