"""Measure what one image costs: the numbers behind the formulas of docs/scale.md; a Markdown table.

    python benchmarks/unit_costs.py PHOTOS [--images 200]

PHOTOS is a folder of photographs. Times are processor time of one thread.
"""

import argparse
import io
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aimonk.data.images.decoding import decode
from aimonk.data.images.folder import list_images
from aimonk.inference.engine import fast_inference
from aimonk.models.backbones import create_backbone
from aimonk.models.classifier import Classifier

SIZE, BATCH, ROUNDS = 224, 32, 4
QUALITIES = (80, 90)
NETWORKS = (("timm", "tf_efficientnet_lite0"), ("torchvision", "resnet18"), ("torchvision", "resnet50"))


def processor_time(work: Callable[[], object]) -> float:
    """Seconds of a call on a processor."""
    started = time.process_time()
    work()
    return time.process_time() - started


def to_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def measure_photographs(folder: Path, most: int) -> np.ndarray:
    """Rows for decoding and for stored images; returns pixels."""
    names = list_images(folder)
    chosen = [folder / names[i] for i in np.unique(np.linspace(0, len(names) - 1, most).astype(int))]
    sizes = [Image.open(path).size for path in chosen]
    megapixels = np.mean([width * height for width, height in sizes]) / 1e6
    size = np.mean([path.stat().st_size for path in chosen])
    pixels: list[np.ndarray] = []
    seconds = processor_time(lambda: pixels.extend(decode(path, SIZE, "squash") for path in chosen))
    title = f"decode and resize a photograph ({megapixels:.2f} megapixels, {size / 1e3:.0f} kB)"
    print(f"| {title} | {1e3 * seconds / len(chosen):.1f} ms | |")
    print(f"| pixels at {SIZE} | | {3 * SIZE**2 / 1e3:.0f} kB |")
    for quality in QUALITIES:
        stored = [to_jpeg(image, quality) for image in pixels]
        seconds = processor_time(
            lambda kept=stored: [decode(io.BytesIO(row), SIZE, "squash") for row in kept]
        )
        size = np.mean([len(row) for row in stored])
        cost = f"{1e3 * seconds / len(stored):.1f} ms | {size / 1e3:.0f} kB"
        print(f"| JPEG at {SIZE}, quality {quality} | {cost} |")
    return np.stack(pixels)


def measure_networks(pixels: np.ndarray) -> None:
    """Rows for the forward pass of frozen networks, and for their features."""
    batch = torch.from_numpy(pixels[np.arange(BATCH) % len(pixels)]).permute(0, 3, 1, 2)
    for library, name in NETWORKS:
        classifier = Classifier(create_backbone(library, name, "random"), 10).eval()
        engine = fast_inference(classifier.prefix(len(classifier.stages)), batch)
        engine(batch)
        seconds = processor_time(lambda run=engine: [run(batch) for _ in range(ROUNDS)])
        size = 4 * classifier.head.in_features
        print(f"| {name}: features | {1e3 * seconds / BATCH / ROUNDS:.1f} ms | {size / 1e3:.1f} kB |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=200)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    print("| one image | processor time | size |\n|---|---|---|")
    measure_networks(measure_photographs(given.photos, given.images))


if __name__ == "__main__":
    main()
