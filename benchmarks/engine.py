"""How much faster frozen networks run on the CPU with the inference engine than without, as a Markdown table.

    python benchmarks/engine.py [--models resnet18 ...] [--batches 16 32] [--repeats 10] [--threads 2]

Whole backbones with random weights, 224 x 224 pixels. Eager runs in channels_last, its faster layout. Both
take turns and the best of each counts, since other processes come and go. The cost of an engine is given in
images: as many as eager torch does in the time that it takes to make one; `repaid` is how many images win
that time back.
"""

import argparse
import importlib.metadata
import math
import os
import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from aimonk.inference.engine import fast_inference
from aimonk.models.backbones import TORCHVISION, create_backbone
from aimonk.models.classifier import Classifier

MODELS = (
    "tf_efficientnet_lite0",
    *TORCHVISION,
    "mobilenetv4_conv_small",
    "regnety_008",
    "vit_tiny_patch16_224",
)


def create_network(name: str) -> nn.Module:
    """A backbone, uint8 images to features, with BatchNorm statistics as after some training."""
    torch.manual_seed(0)
    library = "torchvision" if name in TORCHVISION else "timm"
    classifier = Classifier(create_backbone(library, name, "random"), 1)
    for part in classifier.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    network = classifier.prefix(len(classifier.stages))
    return network.eval().to(memory_format=torch.channels_last)


def draw_images(batch: int) -> Tensor:
    images = torch.randint(0, 256, (batch, 3, 224, 224), dtype=torch.uint8)
    return images.contiguous(memory_format=torch.channels_last)


def time_in_turns(functions: list[Callable], images: Tensor, repeats: int) -> list[float]:
    """Seconds that each function takes at best."""
    best = [math.inf] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function(images)
            best[i] = min(best[i], time.perf_counter() - start)
    return best


@torch.inference_mode()
def measure(name: str, batches: list[int], repeats: int) -> None:
    network = create_network(name)
    images = draw_images(max(batches))
    network(images[:2])
    start = time.perf_counter()
    engine = fast_inference(network, images)
    making = time.perf_counter() - start
    expected = network(images)
    error = ((engine(images) - expected).abs().max() / expected.abs().max()).item()
    for batch in batches:
        eager, fast = (t / batch for t in time_in_turns([network, engine], images[:batch], repeats))
        cost = f"{making / eager:.0f}"
        repaid = f"{making / (eager - fast):.0f}" if fast < eager and engine.name != "eager" else "-"
        times = f"{eager * 1e3:.1f} | {fast * 1e3:.1f} | {eager / fast:.2f}"
        print(f"| {name} | {batch} | {engine.name} | {times} | {error:.0e} | {cost} | {repaid} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 32])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision", "timm")
    )
    print(
        f"{torch.get_num_threads()} threads on {os.cpu_count()} cores, {platform.machine()} "
        f"{torch.backends.cpu.get_cpu_capability()}, Python {platform.python_version()}, {versions}; "
        f"load {os.getloadavg()[0]:.1f} at the start\n"
    )
    print("| network | batch | engine | eager, ms/image | with it | ratio | deviation | cost | repaid |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.models:
        measure(name, arguments.batches, arguments.repeats)


if __name__ == "__main__":
    main()
