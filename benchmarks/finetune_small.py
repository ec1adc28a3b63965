"""Fine-tuning against the frozen head: mean AP on unseen images, with complete labels or few of them.

    python benchmarks/hard_labels.py IMAGES FOLDER
    python benchmarks/finetune_small.py IMAGES FOLDER/train.csv FOLDER/test.csv --seeds 3 [OVERRIDES]
    python benchmarks/few_labels.py IMAGES LABELS --train 200 --seeds 3 experiment=finetune_small

No images are held out from training, so that all models see the same ones; the seed varies the new head, the
order of the images and the random views.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from few_labels import run

METHODS = {
    "frozen backbone, solved head": ["optimizer=lbfgs", "freeze=backbone"],
    "the last two stages": ["freeze=stages", "freeze.last=2"],
    "experiment=finetune_small": ["experiment=finetune_small"],
}


def measure(
    data: list[str], train: Path, test: Path, folder: Path, overrides: list[str]
) -> tuple[float, float]:
    """Mean AP on the test images, and the seconds of the training run."""
    started = time.perf_counter()
    run(*data, f"data.labels={train}", "data.val_fraction=0", f"hydra.run.dir={folder / 'run'}", *overrides)
    seconds = time.perf_counter() - started
    tested = folder / "tested"
    checkpoint = f"checkpoint={folder / 'run'}"
    run("mode=evaluate", *data, f"data.labels={test}", checkpoint, f"hydra.run.dir={tested}")
    return json.loads((tested / "metrics.json").read_text())["evaluated"]["mean_ap"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    arguments, overrides = parser.parse_known_args()
    paths = (arguments.images, arguments.train, arguments.test)
    images, train, test = (path.absolute() for path in paths)
    data = ["data=folder", f"data.images={images}", "data.follow_links=true"]
    print("| training | mean AP | seconds |\n|---|---|---|")
    for name, method in METHODS.items():
        results = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                # the split is given, so copies of a photograph need not be searched
                fixed = ["data.duplicate_distance=null", f"seed={seed}", *method, *overrides]
                results.append(measure(data, train, test, Path(folder), fixed))
        scores, seconds = zip(*results, strict=True)
        spread = f" +- {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
        print(f"| {name} | {np.mean(scores):.3f}{spread} | {np.mean(seconds):.0f} |", flush=True)


if __name__ == "__main__":
    main()
