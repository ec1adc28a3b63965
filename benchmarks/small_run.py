"""A training run of seconds, for the benchmarks that start many."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "run.py")]
SMALL = [
    "data.draw.images=60",
    "data.image_size=32",
    "backbone=timm",
    "backbone.name=test_resnet",
    "backbone.weights=random",
    "batch_size=8",
    "optimizer=adamw",
]
