"""The embedded demo: garment-like pictures drawn from a seed, written as ordinary image and label files."""

import json
import shutil
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from aimonk.data.demo.garments import draw_picture

# attribute -> share of the images that show it
ATTRIBUTES = {"sleeves": 0.88, "buttons": 0.81, "stripes": 0.53, "hat": 0.08}
NA_SHARE = 0.09
DRAWING_VERSION = 1  # raise it when the pictures change, so that cached folders are drawn anew


def draw_demo(folder: Path, images: int, seed: int) -> Path:
    """Draw the demo data set into a folder, unless it is there already.

    Writes `images/demo_000.jpg` ..., `labels.txt` (header row; 1, 0 or NA), `truth.txt` (the same without NA)
    and `demo.json` (what it was drawn from). Everything is written beside the folder and renamed at the end,
    so that a folder that exists is complete; a second process waits for the first. A demo drawn from other
    parameters is replaced.

    Args:
        images: How many pictures, at least 1.
        seed: At least 0; the same seed gives the same labels and pixels.

    Returns:
        The folder.

    Raises:
        ValueError: images or seed out of range.
        FileExistsError: The folder holds something other than a demo.
    """
    if images < 1:
        raise ValueError(f"demo: images must be at least 1, got {images}")
    if seed < 0:
        raise ValueError(f"demo: seed must be at least 0, got {seed}")
    folder = Path(folder)
    parameters = {"drawing_version": DRAWING_VERSION, "images": images, "seed": seed}
    if _read_parameters(folder) == parameters:
        return folder

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        found = _read_parameters(folder)
        if found == parameters:
            return folder
        if found is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(
                f"{folder} exists and is not a demo data set; remove it or name another folder"
            )
        unfinished, replaced = (
            folder.with_name(f"{folder.name}.{state}") for state in ("unfinished", "replaced")
        )
        for left_behind in (unfinished, replaced):
            shutil.rmtree(left_behind, ignore_errors=True)
        try:
            _write_demo(unfinished, images, seed)
            (unfinished / "demo.json").write_text(json.dumps(parameters) + "\n", encoding="utf-8")
            if folder.exists():
                # renamed before it is deleted: half of a demo must not stand under the folder's name
                folder.rename(replaced)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)
    return folder


def draw_labels(images: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw what each picture shows and which entries are known.

    The shares of `ATTRIBUTES` are met to the nearest image, so that a small demo shows the rare one as well.

    Returns:
        truth and mask (True = known), both [N, A].
    """
    rng = np.random.default_rng((seed, 0))
    counts = [round(share * images) for share in ATTRIBUTES.values()]
    truth = np.stack([rng.permutation(images) < count for count in counts], axis=1)  # [N, A]
    mask = rng.random(truth.shape) >= NA_SHARE
    return truth, mask


def _read_parameters(folder: Path) -> dict[str, int] | None:
    """What the demo in a folder was drawn from; None where there is no demo."""
    try:
        parameters = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return parameters if isinstance(parameters, dict) and "drawing_version" in parameters else None


def _write_demo(folder: Path, images: int, seed: int) -> None:
    truth, mask = draw_labels(images, seed)
    digits = max(3, len(str(images - 1)))
    names = [f"demo_{index:0{digits}d}.jpg" for index in range(images)]
    (folder / "images").mkdir(parents=True)
    for index, name in enumerate(names):
        present = dict(zip(ATTRIBUTES, truth[index].tolist(), strict=True))
        # a generator per image: a picture does not depend on how much was drawn before it
        picture = draw_picture(present, np.random.default_rng((seed, 1, index)))
        picture.save(folder / "images" / name, quality=90)

    tokens = np.where(truth, "1", "0")
    for file, entries in (("labels.txt", np.where(mask, tokens, "NA")), ("truth.txt", tokens)):
        rows = [("image", *ATTRIBUTES), *((name, *row) for name, row in zip(names, entries, strict=True))]
        # bytes, so that the file is the same on every platform
        (folder / file).write_bytes("".join(" ".join(row) + "\n" for row in rows).encode())
