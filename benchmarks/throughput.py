"""Images per second of full fine-tuning on random tensors that lie in memory already, as a line of JSON.

    python benchmarks/throughput.py --batches 20

The ceiling that benchmarks/speed.py holds the fine-tuning recipe against: the same network, loss and
optimizer, without any data set.
"""

import argparse
import json
import statistics
import time

import torch

from aimonk.models.backbones import create_backbone
from aimonk.models.classifier import Classifier
from aimonk.runtime.memory import keep_freed_memory
from aimonk.training.losses import MaskedLoss
from aimonk.training.optimizers import adam

BATCH, ATTRIBUTES = 16, 4


def measure(batches: int) -> float:
    """Images per second, by the median batch."""
    keep_freed_memory()
    torch.manual_seed(0)
    classifier = Classifier(create_backbone("torchvision", "resnet18", "random"), ATTRIBUTES)
    classifier.to(memory_format=torch.channels_last).train()
    criterion, optimizer = MaskedLoss(), adam(classifier, 0, 1e-4, (0.9, 0.999), 0.0, 1.0)
    images = torch.randint(0, 256, (BATCH, 224, 224, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    labels = torch.randint(0, 2, (BATCH, ATTRIBUTES)).float()
    mask = torch.ones_like(labels, dtype=torch.bool)
    seconds = []
    for _ in range(batches):
        start = time.perf_counter()
        criterion(classifier(images), labels, mask).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    return BATCH / statistics.median(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=20)
    print(json.dumps({"images_per_second": measure(parser.parse_args().batches)}))
