"""How much faster than a plain training script? Markdown tables, each of one run on one machine.

    python benchmarks/speed.py IMAGES LABELS                    # all tables: about half an hour on two cores
    python benchmarks/speed.py IMAGES LABELS frozen infer       # of: frozen last finetune sweep infer

Both sides are complete commands, start-up included. The plain script (benchmarks/plain.py) is timed for two
epochs; longer runs of it are its start-up and so many of its second epoch, aimonk's are really run.
ResNet18's weights are a stand-in file with random numbers, which take as long as any.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import torchvision

ROOT = Path(__file__).resolve().parents[1]


class Bench:
    """Commands, timed, over one data set with a cache of its own."""

    def __init__(self, images: Path, labels: Path, work: Path):
        self.images, self.labels, self.work = images.resolve(), labels.resolve(), work
        self.count = 0
        self.peak = 0.0  # MB of resident memory that a command of aimonk took, mapped files included
        hub = work / "torch" / "hub" / "checkpoints"
        hub.mkdir(parents=True)
        entry = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
        torch.save(torchvision.models.resnet18().state_dict(), hub / entry.url.rsplit("/", 1)[1])
        self.environment = os.environ | {"TORCH_HOME": str(work / "torch")}

    def cold(self) -> Path:
        """A cache folder with nothing in it."""
        self.count += 1
        return self.work / f"cache{self.count}"

    def throughput(self) -> float:
        """Images per second of the fine-tuning recipe's network on random tensors in memory."""
        command = [sys.executable, str(ROOT / "benchmarks" / "throughput.py")]
        output = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True)
        return json.loads(output.stdout)["images_per_second"]

    def plain(self, *arguments: str) -> dict:
        labels = [str(self.labels)] if arguments[0] == "train" else []
        command = [sys.executable, ROOT / "benchmarks" / "plain.py", arguments[0], self.images, *labels]
        output = subprocess.run(
            [*map(str, command), *arguments[1:]],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return json.loads(output.stdout.splitlines()[-1])

    def aimonk(self, cache: Path, *arguments: str, out: str = "run") -> float:
        """Seconds that a command of aimonk took; its folder is `out` below the work folder."""
        place = (
            f"hydra.sweep.dir={self.work / out}" if "-m" in arguments else f"hydra.run.dir={self.work / out}"
        )
        data = [
            "data=folder",
            f"data.images={self.images}",
            f"data.labels={self.labels}",
            f"cache_dir={cache}",
            place,
        ]
        data = [] if "mode=infer" in arguments else data
        command = [sys.executable, str(ROOT / "run.py"), *data, *arguments]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, cwd=self.work)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{' '.join(command)} ended with {status}")
        self.peak = max(self.peak, usage.ru_maxrss / 1024)
        return time.perf_counter() - start


def plain_total(result: dict, epochs: int) -> float:
    """The plain script's start-up and so many of its second epoch."""
    return result["start"] + result["epochs"][0] + (epochs - 1) * result["epochs"][-1]


def row(what: str, plain: float, ours: float) -> str:
    return f"| {what} | {plain:.1f} | {ours:.1f} | **{plain / ours:.1f}** |"


def frozen(bench: Bench) -> list[str]:
    plain = bench.plain("train", "--trains", "head")
    recipe = "experiment=aimonk_frozen"
    cache = bench.cold()
    five = bench.aimonk(cache, recipe)
    warm = bench.aimonk(cache, recipe)
    twenty = bench.aimonk(bench.cold(), recipe, "epochs=20")
    return [
        row("frozen recipe, 5 epochs, empty cache", plain_total(plain, 5), five),
        row("the same, 20 epochs", plain_total(plain, 20), twenty),
        row("5 epochs, caches filled", plain_total(plain, 5), warm),
    ]


def last(bench: Bench) -> list[str]:
    plain = bench.plain("train", "--trains", "last")
    ours = bench.aimonk(bench.cold(), "experiment=aimonk_finetune", "freeze=stages", "epochs=10")
    return [row("last stage only, ResNet18, 10 epochs, empty cache", plain_total(plain, 10), ours)]


def finetune(bench: Bench) -> list[str]:
    plain = bench.plain("train", "--trains", "all")
    bench.aimonk(bench.cold(), "experiment=aimonk_finetune", "epochs=2", out="finetune")
    seconds = json.loads((bench.work / "finetune" / "metrics.json").read_text())["epoch_seconds"][-1]
    ceiling = plain["images"] / bench.throughput()
    return [
        row("fine-tuning recipe, one epoch after the first", plain["epochs"][-1], seconds),
        f"| as many images from random tensors in memory, same network | {ceiling:.1f} | {seconds:.1f} "
        f"| **{ceiling / seconds:.2f}** |",
    ]


def sweep(bench: Bench) -> list[str]:
    plain = bench.plain("train", "--trains", "head", "--model", "lite0")
    grid = ["loss=masked,pos_weight,focal", "optimizer=adamw", "optimizer.lr=1e-3,1e-4", "seed=0,1"]
    ours = bench.aimonk(bench.cold(), "-m", *grid, "epochs=10", out="sweep")
    each = plain_total(plain, 10) - plain["start"]
    return [row("12 jobs over loss, lr and seed, lite0, 10 epochs, cold", plain["start"] + 12 * each, ours)]


def infer(bench: Bench) -> list[str]:
    bench.aimonk(bench.cold(), "epochs=1", out="model")
    plain = bench.plain("infer", "--model", "lite0")
    command = ["mode=infer", f"checkpoint={bench.work / 'model'}", f"output={bench.work / 'predictions.csv'}"]
    one = bench.aimonk(bench.cold(), *command, f"image={min(bench.images.iterdir())}")
    ours = bench.aimonk(bench.cold(), *command, f"image={bench.images}")
    return [
        row(f"`mode=infer` over {plain['images']} images, lite0", plain["total"], ours),
        row("the same, without the start-up", plain["total"] - plain["start"], ours - one),
        row("the start-up: until the first image, and all of a single image", plain["start"], one),
    ]


TABLES: dict[str, Callable[[Bench], list[str]]] = {
    "frozen": frozen,
    "last": last,
    "finetune": finetune,
    "sweep": sweep,
    "infer": infer,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm"))
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {packages}\n")
    print("| | plain script, s | aimonk, s | ratio | aimonk, peak MB |\n|---" + "|---" * 4 + "|")
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(arguments.images, arguments.labels, Path(work))
        for name in arguments.tables or TABLES:
            bench.peak = 0.0
            for line in TABLES[name](bench):
                print(f"{line} {bench.peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
