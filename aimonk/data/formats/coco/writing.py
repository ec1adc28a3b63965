"""COCO JSON of a label table, as `mode=import to=coco` writes it."""

import json
import logging
from pathlib import Path

from PIL import Image

from aimonk.data.formats.coco.reading import NEGATIVE, NOT_EXHAUSTIVE
from aimonk.data.images.decoding import FORMATS, open_image
from aimonk.data.labels import LabelTable
from aimonk.files.text import listed

log = logging.getLogger(__name__)


def format_coco(table: LabelTable, images: Path) -> str:
    """Instances JSON: a box of the complete image for each present label; absent ones as LVIS lists them.

    COCO has no other way to state what is absent, so that all else would be unknown or absent to its readers.

    Args:
        images: The images folder, for width and height; a missing image has neither, and boxes of
            no size.
    """
    entries, annotations, unreadable = [], [], []
    for i, name in enumerate(table.names):
        size = _read_size(images / name)
        entry = {"id": i + 1, "file_name": name}
        if size is None:
            unreadable.append(name)
        else:
            entry |= {"width": size[0], "height": size[1]}
        known, present = table.mask[i], table.labels[i] > 0.5
        absent = [column + 1 for column in (known & ~present).nonzero()[0].tolist()]
        entries.append(entry | {NEGATIVE: absent, NOT_EXHAUSTIVE: []})
        for column in (known & present).nonzero()[0].tolist():
            annotations.append(_annotate(len(annotations) + 1, i + 1, column + 1, *(size or (0, 0))))
    if unreadable:
        log.warning("no width and height, since the image cannot be read: %s", listed(unreadable))
    if table.splits is not None:
        log.warning("the splits are not written: COCO has a file for each")
    categories = [
        {"id": column, "name": name, "supercategory": "none"}
        for column, name in enumerate(table.attributes, start=1)
    ]
    # ASCII, so that names of files that are not UTF-8 are written too
    return json.dumps({"images": entries, "annotations": annotations, "categories": categories}) + "\n"


def _annotate(number: int, image: int, category: int, width: int, height: int) -> dict:
    corners = [0, 0, width, 0, width, height, 0, height]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [0, 0, width, height],
        "area": width * height,
        "segmentation": [corners],
        "iscrowd": 0,
    }


def _read_size(path: Path) -> tuple[int, int] | None:
    """Width and height in the header of a file, in pixels; None where it cannot be read."""
    try:
        with open_image(path) as file, Image.open(file, formats=FORMATS) as image:
            return image.size
    except Exception:  # Pillow's plugins raise errors of any type on malformed files
        return None
