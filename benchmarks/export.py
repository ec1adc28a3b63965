"""How fast an exported model is against mode=infer, and how far their predictions agree, as Markdown.

    python benchmarks/export.py RUN IMAGES [--labels FILE] [--photographs 200] [--threads 1] [--repeats 2]

Times include the start-up of each process, and the best of the repeats counts. The photographs are copies of
those of the folder, in turn unchanged, rotated by EXIF, with transparency, grey, grey in 16 bits, CMYK, and
3,000 pixels wide. With labels, those of the run's validation images give the mean AP of its scored model in
each precision; half of 200 training images calibrate int8.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.images.decoding import decode_full
from aimonk.data.images.folder import list_images
from aimonk.data.splits import read_assignment
from aimonk.files.run_folder import SCORED_FILE, SPLITS_FILE
from aimonk.inference.onnx_file import read_onnx

COMMAND = [sys.executable, str(Path(__file__).resolve().parents[1] / "run.py")]
ORIENTATION = 0x0112
KINDS = ("unchanged", "EXIF", "transparency", "grey", "16 bits", "CMYK", "3,000 pixels wide")


def save_as(kind: str, number: int, image: Image.Image, path: Path) -> None:
    """Write a copy of a photograph; the suffix of the path is added."""
    image = image.convert("RGB")
    if kind == "transparency":
        image.putalpha(image.convert("L").point(lambda value: min(255, 2 * value)))
        image.save(path.with_suffix(".png"))
    elif kind == "16 bits":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path.with_suffix(".png"))
    elif kind == "EXIF":
        exif = Image.Exif()
        exif[ORIENTATION] = 2 + number % 7
        image.save(path.with_suffix(".jpg"), quality=95, exif=exif)
    else:
        if kind == "3,000 pixels wide":
            image = image.resize((3000, round(3000 * image.height / image.width)), Image.Resampling.BICUBIC)
        mode = {"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB")
        image.convert(mode).save(path.with_suffix(".jpg"), quality=95)


def make_photographs(images: list[Path], count: int, folder: Path) -> None:
    folder.mkdir()
    for number, source in enumerate(images[i] for i in np.linspace(0, len(images) - 1, count).astype(int)):
        kind = KINDS[number % len(KINDS)]
        with Image.open(source) as image:
            save_as(kind, number // len(KINDS), image, folder / f"{kind} {number:03d}")


def run(command: list[str], threads: int) -> tuple[float, str]:
    """Seconds, and what the command wrote to stderr."""
    start = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": f"{threads}"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    return time.perf_counter() - start, result.stderr


def lines(log: str, *starts: str) -> Iterator[str]:
    return (line for line in log.splitlines() if line.startswith(starts))


def read_table(path: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Names of the images, probabilities [N, A], and the attributes present."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    attributes = (len(header) - 2) // 2
    probs = np.array([row[2 : 2 + attributes] for row in rows], dtype=float)
    return [Path(row[0]).name for row in rows], probs, [row[1] for row in rows]


def processor_seconds() -> float:
    """Time that finished child processes spent on processors, which other programs disturb less."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure_speed(arguments: argparse.Namespace, folder: Path) -> None:
    infer = [*COMMAND, "mode=infer", f"image={arguments.images}", "format=csv", f"output={folder / 'a.csv'}"]
    script = [sys.executable, str(folder / "out" / "predict.py"), str(arguments.images)]
    commands = {
        "`mode=infer checkpoint=RUN`": [*infer, f"checkpoint={arguments.run}"],
        "`mode=infer checkpoint=model.onnx`": [*infer, f"checkpoint={folder / 'out' / 'model.onnx'}"],
        "`predict.py`": [*script, "--output", f"{folder / 'b.csv'}", "--threads", f"{arguments.threads}"],
    }
    best = dict.fromkeys(commands, (float("inf"),) * 2)
    for _ in range(arguments.repeats):
        for name, command in commands.items():
            before = processor_seconds()
            seconds = run(command, arguments.threads)[0]
            took = (seconds, processor_seconds() - before)
            best[name] = tuple(map(min, best[name], took))
    count = len(list_images(arguments.images))
    print(f"\n| {count} images, {arguments.threads} threads | seconds | of the processor |\n|---|---|---|")
    for name, (seconds, of_processor) in best.items():
        print(f"| {name} | {seconds:.1f} | {of_processor:.1f} |")


def measure_agreement(arguments: argparse.Namespace, folder: Path) -> None:
    photographs = folder / "photographs"
    paths = [arguments.images / name for name in list_images(arguments.images)]
    make_photographs(paths, arguments.photographs, photographs)
    source = [f"checkpoint={arguments.run}", f"image={photographs}"]
    run([*COMMAND, "mode=infer", *source, f"output={folder / 'infer.csv'}"], arguments.threads)
    script = [sys.executable, str(folder / "out" / "predict.py"), str(photographs)]
    run([*script, "--output", str(folder / "predict.csv")], arguments.threads)
    names, expected, present = read_table(folder / "infer.csv")
    _, probs, decided = read_table(folder / "predict.csv")
    model = read_onnx(folder / "out" / "model.onnx", arguments.threads)
    thresholds = np.array(model.info.thresholds)
    resized = np.empty_like(expected)
    for row, name in enumerate(names):
        resized[row] = model(decode_full(photographs / name)[None])[0]
    print("\n| photographs | | `predict.py`: largest difference | images with equal decisions ", end="")
    print("| resized by the model: mean | largest | equal decisions |\n|---|---|---|---|---|---|---|")
    for kind in KINDS:
        rows = [row for row, name in enumerate(names) if name.startswith(kind)]
        own = np.abs(probs - expected)[rows].max()
        equal = sum(present[row] == decided[row] for row in rows)
        inside = np.abs(resized - expected)[rows]
        same = ((resized >= thresholds) == (expected >= thresholds))[rows]
        print(f"| {kind} | {len(rows)} | {own:.1e} | {equal} | {inside.mean():.1e} ", end="")
        print(f"| {inside.max():.1e} | {same.sum()} of {same.size} |")


def measure_precisions(arguments: argparse.Namespace, folder: Path) -> None:
    parts = read_assignment(arguments.run / SPLITS_FILE)
    table = read_labels(arguments.labels, None, arguments.images, Tokens([], [], []))
    table = table.take(np.array([i for i, name in enumerate(table.names) if parts.get(name) == "val"]))
    entries = np.where(table.mask, table.labels.astype(int).astype(str), "NA")
    # without a header, the columns take the names of the model's attributes
    rows = [[name, *row] for name, row in zip(table.names, entries, strict=True)]
    labels = folder / "val.csv"
    labels.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    training = folder / "training"
    training.mkdir()
    names = [name for name, part in parts.items() if part == "train"]
    for name in (names[i] for i in np.linspace(0, len(names) - 1, 200).astype(int)):
        (training / Path(name).name).symlink_to((arguments.images / name).absolute())
    scored = arguments.run / SCORED_FILE
    data = ["data=folder", f"data.images={arguments.images}", f"data.labels={labels}"]
    for precision in ("fp32", "fp16", "int8"):
        output = [f"output={folder / precision}.onnx", f"precision={precision}", f"image={training}"]
        _, log = run([*COMMAND, "mode=export", f"checkpoint={scored}", *output, *data], arguments.threads)
        print(f"\n{precision}")
        print("\n".join(lines(log, "parity", "mean AP", "written")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        export = ["mode=export", f"checkpoint={arguments.run}", f"output={folder / 'out'}/"]
        seconds, log = run([*COMMAND, *export, f"image={arguments.images}"], arguments.threads)
        print(f"export: {seconds:.1f} s")
        print("\n".join(lines(log, "parity", "the same", "written")))
        measure_agreement(arguments, folder)
        if arguments.repeats > 0:
            measure_speed(arguments, folder)
        if arguments.labels is not None:
            measure_precisions(arguments, folder)


if __name__ == "__main__":
    main()
