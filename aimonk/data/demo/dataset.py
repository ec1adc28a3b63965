"""The embedded demo data set: pictures of garments drawn from a seed, as ordinary image and label files."""

import json
import shutil
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from aimonk.data.demo.picture import draw_picture

# attribute -> share of the images in which it is present
ATTRIBUTES = {"sleeves": 0.88, "buttons": 0.81, "stripes": 0.53, "hat": 0.08}
NA_SHARE = 0.09
DRAWING_VERSION = 1  # increment it when the pictures change: cached folders are then drawn again


def draw_demo(folder: Path, images: int, seed: int) -> Path:
    """Draw the demo data set into a folder, unless it exists; returns the folder.

    Writes `images/demo_000.jpg` ..., `labels.txt` (header row; 1, 0 or NA), `truth.txt` (the same without NA)
    and `demo.json` (the parameters). The files are written to another folder that is renamed at the end, so
    that an existing demo is complete. Concurrent processes wait; a demo of other parameters is replaced.

    Args:
        images: Number of pictures, at least 1.
        seed: At least 0; determines labels and pixels.

    Raises:
        ValueError: images or seed is out of range.
        FileExistsError: The folder contains something other than a demo.
    """
    if images < 1:
        raise ValueError(f"data.draw.images is {images}; expected 1 or more")
    if seed < 0:
        raise ValueError(f"data.draw.seed is {seed}; expected 0 or more")
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
                f"{folder} exists and is not a demo data set; remove it or set another folder"
            )
        unfinished, replaced = (
            folder.with_name(f"{folder.name}.{state}") for state in ("unfinished", "replaced")
        )
        for remains in (unfinished, replaced):
            shutil.rmtree(remains, ignore_errors=True)
        try:
            _write_demo(unfinished, images, seed)
            (unfinished / "demo.json").write_text(json.dumps(parameters) + "\n", encoding="utf-8")
            if folder.exists():
                # renamed before it is deleted: a partial demo must never have the folder's name
                folder.rename(replaced)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)
    return folder


def draw_labels(images: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw the true labels and the mask of known entries, both bool [N, A].

    The shares of `ATTRIBUTES` are exact up to rounding, so that a small demo contains the rare attribute too.
    """
    rng = np.random.default_rng((seed, 0))
    counts = [round(share * images) for share in ATTRIBUTES.values()]
    truth = np.stack([rng.permutation(images) < count for count in counts], axis=1)  # [N, A]
    mask = rng.random(truth.shape) >= NA_SHARE
    return truth, mask


def _read_parameters(folder: Path) -> dict[str, int] | None:
    """Parameters of the demo in a folder; None where there is no demo."""
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
        # a generator per image: pictures are independent of one another
        picture = draw_picture(present, np.random.default_rng((seed, 1, index)))
        picture.save(folder / "images" / name, quality=90)

    tokens = np.where(truth, "1", "0")
    for file, entries in (("labels.txt", np.where(mask, tokens, "NA")), ("truth.txt", tokens)):
        rows = [("image", *ATTRIBUTES), *((name, *row) for name, row in zip(names, entries, strict=True))]
        # written as bytes, for equal line ends on all platforms
        (folder / file).write_bytes("".join(" ".join(row) + "\n" for row in rows).encode())
