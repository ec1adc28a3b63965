"""COCO: instances JSON (Lin et al. 2014), and LVIS, which also states what is absent (Gupta et al. 2019)."""

import logging
import os
import posixpath
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from aimonk.data.annotations import ABSENT, MOST_ENTRIES, PRESENT, UNKNOWN, Annotations, Value
from aimonk.data.formats.blank import blank_meaning
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.labels import check_names
from aimonk.files.json_file import read_json
from aimonk.files.text import join_errors, plural

log = logging.getLogger(__name__)

NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"
ANNOTATED, BLANK, REFUTED, INCOMPLETE, UNLISTED = range(5)


def read_coco(path: Path, images: ImageNames, blank: str | None) -> Annotations:
    """Read instances: a category is present in an image if it is annotated there, also as a crowd.

    Of an image with LVIS's lists, `neg_category_ids` are absent and all other categories without annotation
    are unknown, also those in `not_exhaustive_category_ids`.

    Args:
        blank: `absent` or `unknown`: the meaning of categories without annotation in an image without
            LVIS's lists.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The setting is invalid, or the file has errors; the message lists the first ten, with the
            position of the annotation, image or category in its list.
    """
    if blank is not None:
        _meaning(blank)
    content = read_json(path, "label file")
    lists = {}
    for key in ("images", "annotations", "categories"):
        lists[key] = content.get(key) if isinstance(content, dict) else None
        if not isinstance(lists[key], list):
            raise ValueError(f"{path}: {key!r} is no list in the file; expected the instances JSON of COCO")
    entries = lists["annotations"]
    if entries and not any(isinstance(entry, dict) and "category_id" in entry for entry in entries):
        # of captions or panoptic segments
        raise ValueError(f"{path}: no annotation has a category_id; expected the instances JSON of COCO")
    errors: list[str] = []
    columns, attributes = _read_categories(lists["categories"], errors)
    rows, names = _read_images(lists["images"], images, errors)
    _raise(path, errors)
    check_names(attributes, f"{path}")
    if not names or not attributes:
        raise ValueError(
            f"{path} has {plural(len(names), 'image')} and {plural(len(attributes), 'category')}; "
            "expected one or more of both"
        )
    if len(names) * len(attributes) > MOST_ENTRIES:
        raise ValueError(f"{path}: too many images and categories for a table; expected {MOST_ENTRIES:,}")
    codes = np.full((len(names), len(attributes)), BLANK, np.uint8)
    _set_lists(lists["images"], columns, codes, errors)
    _set_annotated(lists["annotations"], rows, columns, codes, errors)
    _raise(path, errors)
    # with LVIS's lists in all images, nothing is blank
    meaning = _meaning(blank) if (codes == BLANK).any() else UNKNOWN
    if blank is not None and not any(_is_plain(image) for image in lists["images"]):
        log.warning("without effect: data.blank (all images of %s list what is absent)", path)
    legend = [
        *(Value("annotation", PRESENT), Value("no annotation", meaning), Value(NEGATIVE, ABSENT)),
        *(Value(NOT_EXHAUSTIVE, UNKNOWN), Value("not listed", UNKNOWN)),
    ]
    places = range(1, len(names) + 1)
    return Annotations(names, attributes, legend, codes, np.arange(len(names)), places, "image")


def _raise(path: Path, errors: list[str]) -> None:
    if errors:
        raise ValueError(join_errors([f"{path} {error}" for error in errors]))


def _meaning(blank: str | None) -> int:
    return blank_meaning(
        blank,
        "a category without annotation in an image",
        "if all images were searched for all categories, as in COCO itself",
        "if only some objects were marked",
    )


def _show(value: Any) -> str:
    # of any size and depth
    return reprlib.repr(value)[:40]


def _id(item: Any, key: str) -> int | str:
    """An id: an integer or a string, no boolean, nan or fraction.

    Raises:
        ValueError: It is something else, or missing.
    """
    if not isinstance(item, dict):
        raise ValueError(f"the entry is {_show(item)}; expected an object with {key!r}")
    value = item.get(key)
    if type(value) is not int and (type(value) is not str or not value):
        got = "missing" if key not in item else _show(value)
        raise ValueError(f"{key} is {got}; expected an integer")
    return value


def _read_categories(categories: list, errors: list[str]) -> tuple[dict[int | str, int], list[str]]:
    """Category id -> column, and the names."""
    columns: dict[int | str, int] = {}
    names: dict[str, int] = {}
    for i, category in enumerate(categories, start=1):
        try:
            name, number = "", _id(category, "id")
            if isinstance(category.get("name"), str):
                name = category["name"].strip()
            if not name:
                raise ValueError(f"name is {_show(category.get('name'))}; expected a string")
            if columns.setdefault(number, len(names)) != len(names):
                raise ValueError(f"id is {_show(number)}, that of another category; expected unique ids")
            if names.setdefault(name, i) != i:
                before = f"category {names[name]}"
                raise ValueError(f"name is {name[:80]!r}, that of {before}; rename or remove one of them")
        except ValueError as error:
            errors.append(f"category {i}: {error}")
    return columns, list(names)


def _read_images(
    entries: list, images: ImageNames, errors: list[str]
) -> tuple[dict[int | str, int], list[str]]:
    """Image id -> row, and the names."""
    rows: dict[int | str, int] = {}
    names: dict[str, int] = {}
    for i, image in enumerate(entries, start=1):
        try:
            number = _id(image, "id")
            name = _file_name(image, images)
            if rows.setdefault(number, len(names)) != len(names):
                raise ValueError(f"id is {_show(number)}, that of another image; expected unique ids")
            if names.setdefault(name, i) != i:
                raise ValueError(
                    f"the file is {name[:80]!r}, that of image {names[name]}; remove one of them"
                )
        except ValueError as error:
            errors.append(f"image {i}: {error}")
    return rows, list(names)


def _file_name(image: Mapping[str, Any], images: ImageNames) -> str:
    """The path of an image: `file_name`, or the end of `coco_url`, with its folder where that exists."""
    name = image.get("file_name")
    if name is None and isinstance(image.get("coco_url"), str):
        path = unquote(urlsplit(image["coco_url"]).path)
        name, longer = posixpath.basename(path), "/".join(path.split("/")[-2:])
        if images.folder is not None and os.path.isfile(os.path.join(images.folder, longer)):
            name = longer
    if not isinstance(name, str):
        got = "missing" if name is None else _show(name)
        raise ValueError(f"file_name is {got}; expected the path of an image")
    return images.resolve(name)


def _is_plain(image: Mapping[str, Any]) -> bool:
    """Whether an image has none of LVIS's lists."""
    return NEGATIVE not in image and NOT_EXHAUSTIVE not in image


def _set_lists(entries: list, columns: Mapping[int | str, int], codes: np.ndarray, errors: list[str]) -> None:
    """Set the entries of LVIS's lists, in the order of the images."""
    for row, image in enumerate(entries):
        if _is_plain(image):
            continue
        codes[row] = UNLISTED
        try:
            for key, code in ((NOT_EXHAUSTIVE, INCOMPLETE), (NEGATIVE, REFUTED)):
                numbers = image.get(key, [])
                if not isinstance(numbers, list):
                    raise ValueError(f"{key} is {_show(numbers)}; expected a list of ids of categories")
                for number in numbers:
                    codes[row, _find({key: number}, key, columns, "the categories")] = code
        except ValueError as error:
            errors.append(f"image {row + 1}: {error}")


def _find(item: Any, key: str, places: Mapping[int | str, int], kind: str) -> int:
    """The row or column that an id points to.

    Raises:
        ValueError: It is no id, or that of no image or category.
    """
    number = _id(item, key)
    if number not in places:
        expected = f"the id of one of {kind}, such as {_show(next(iter(places)))}"
        raise ValueError(f"{key} is {_show(number)}; expected {expected}")
    return places[number]


def _set_annotated(
    entries: list,
    rows: Mapping[int | str, int],
    columns: Mapping[int | str, int],
    codes: np.ndarray,
    errors: list[str],
) -> None:
    for i, annotation in enumerate(entries, start=1):
        try:
            row = _find(annotation, "image_id", rows, "the images")
            column = _find(annotation, "category_id", columns, "the categories")
            if codes[row, column] == REFUTED:
                number = _show(annotation["category_id"])
                expected = f"no category that {NEGATIVE} of its image has"
                raise ValueError(f"category_id is {number}; expected {expected}")
            codes[row, column] = ANNOTATED
        except ValueError as error:
            errors.append(f"annotation {i}: {error}")
