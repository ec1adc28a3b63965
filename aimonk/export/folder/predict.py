"""Predict the attributes of images with the model beside this script, as a CSV table.

python predict.py photo.jpg
python predict.py photos --output attributes.csv      # all images below a folder
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
from decoding import decode

MODEL = Path(__file__).with_name("model.onnx")
SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo"}
BATCH = 8


class Model:
    """An exported model, its attributes and their thresholds.

    Args:
        threads: Of the network; 0 for one per core.
    """

    def __init__(self, path: Path, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        fields = self.session.get_modelmeta().custom_metadata_map
        self.attributes = json.loads(fields["attributes"])
        self.thresholds = json.loads(fields["thresholds"])
        self.size = json.loads(fields["image_size"])
        self.resize = json.loads(fields["resize"])

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities [B, A] and decisions, bool [B, A], of uint8 RGB images [B, H, W, 3]."""
        return self.session.run(["probabilities", "decisions"], {"images": images})


def find_images(path: Path) -> list[Path]:
    """The images below a folder, sorted; another path itself."""
    if not path.is_dir():
        return [path]
    names = (Path(root, name) for root, _, files in os.walk(path) for name in files)
    return sorted((p for p in names if p.suffix.lower() in SUFFIXES), key=Path.as_posix)


def decode_all(model: Model, paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray | ValueError]]:
    """Each file with its pixels, or the error."""

    def read(path: Path) -> np.ndarray | ValueError:
        try:
            return decode(path, model.size, model.resize)
        except ValueError as error:
            return error

    waiting = iter(paths)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead = [(path, pool.submit(read, path)) for path in islice(waiting, 4 * BATCH)]
        while ahead:
            path, result = ahead.pop(0)
            ahead += [(path, pool.submit(read, path)) for path in islice(waiting, 1)]
            yield path, result.result()


def guard(text: str) -> str:
    """Prefix an apostrophe to a string that a spreadsheet would evaluate as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_table(model: Model, paths: Sequence[Path], file) -> int:
    """Write a row per readable image; returns the number of the others."""
    writer, unreadable = csv.writer(file, lineterminator="\n"), 0
    ends = [f"{threshold:.6f}" for threshold in model.thresholds]
    header = ["image", "present", *model.attributes, *(f"{name} threshold" for name in model.attributes)]
    writer.writerow(map(guard, header))
    decoded = decode_all(model, paths)
    while batch := list(islice(decoded, BATCH)):
        readable = [(path, pixels) for path, pixels in batch if isinstance(pixels, np.ndarray)]
        for path, error in batch:
            if isinstance(error, ValueError):
                print(f"{path}: {error}", file=sys.stderr)
                unreadable += 1
        if readable:
            results = model(np.stack([pixels for _, pixels in readable]))
            for (path, _), probs, decisions in zip(readable, *results, strict=True):
                present = ";".join(n for n, yes in zip(model.attributes, decisions, strict=True) if yes)
                figures = (f"{p:.6f}" for p in probs)
                writer.writerow([guard(str(path)), guard(present), *figures, *ends])
    return unreadable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, help="image files or folders")
    parser.add_argument("--output", type=Path, help="CSV file, instead of the terminal")
    parser.add_argument("--threads", type=int, default=0, help="of the network; 0 for one per core")
    arguments = parser.parse_args()
    paths = [path for given in arguments.images for path in find_images(given)]
    model = Model(MODEL, arguments.threads)
    if arguments.output is None:
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        unreadable = write_table(model, paths, sys.stdout)
    else:
        with open(arguments.output, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            unreadable = write_table(model, paths, file)
    if unreadable or not paths:
        sys.exit(f"{unreadable} of {len(paths)} images could not be read")


if __name__ == "__main__":
    main()
