"""Pascal VOC: class files `ImageSets/Main/CLASS_SPLIT.txt`, or XML annotations (Everingham et al. 2010)."""

import logging
import re
from pathlib import Path

import numpy as np

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Annotations, Value
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.voc.annotations import read_voc_xml
from aimonk.data.labels import check_names
from aimonk.files.delimited import read_text
from aimonk.files.text import join_errors, listed

log = logging.getLogger(__name__)

CLASS_FILE = re.compile(r"(.+)_(train|val|trainval|test)\.txt")
LISTS = ("train.txt", "val.txt", "trainval.txt", "test.txt")  # images of a split, without labels
LEGEND = [Value("1", PRESENT), Value("-1", ABSENT), Value("0", UNKNOWN), Value("no row", UNKNOWN)]
CODES = {"1": 0, "-1": 1, "0": 2}
NO_ROW = 3
PARTS = {"train": {"train"}, "val": {"val"}, "trainval": {"train", "val"}, "test": {"test"}}


def read_voc(path: Path, images: ImageNames, blank: str | None) -> Annotations:
    """Read class files, rows of an image and 1, -1 or 0 (difficult objects only), or else XML annotations.

    Args:
        path: A folder of VOC such as VOC2007, its ImageSets/Main or Annotations, or one of their files.
        blank: As of `read_voc_xml`; class files do not need it, since they state what is absent.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: The files have errors; the message lists the first ten with their lines.
    """
    if not path.exists():
        raise FileNotFoundError(f"no labels of VOC at {path.absolute()}")
    if not path.is_dir():
        if path.is_file() and path.suffix.lower() == ".xml":
            return read_voc_xml(path.parent, [path], images, blank)
        return _read_class_files([path], images)
    main = next((p for p in (path / "ImageSets" / "Main", path / "Main") if p.is_dir()), path)
    texts = sorted(main.glob("*.txt"))
    if files := [file for file in texts if CLASS_FILE.fullmatch(file.name)]:
        if others := [file.name for file in texts if file not in files and file.name not in LISTS]:
            log.warning("%s: files that are not named CLASS_SPLIT.txt are ignored: %s", main, listed(others))
        if blank is not None:
            log.warning("without effect: data.blank (the class files of %s state what is absent)", main)
        return _read_class_files(files, images)
    annotations = path / "Annotations" if (path / "Annotations").is_dir() else path
    if files := sorted(annotations.rglob("*.xml")):
        if lists := [file.name for file in texts if file.name in LISTS]:
            message = "%s: %s not used; data.splits=FILE assigns images to splits"
            log.warning(message, main, listed(lists))
        return read_voc_xml(annotations, files, images, blank)
    expected = "ImageSets/Main with CLASS_SPLIT.txt files, or Annotations with XML files"
    raise FileNotFoundError(f"no labels of VOC in {path.absolute()}; expected {expected}")


def _read_class_files(files: list[Path], images: ImageNames) -> Annotations:
    names: dict[str, int] = {}
    of_class: dict[str, dict[int, int]] = {}  # class -> image -> code
    parts: dict[int, set[str]] = {}
    places: list[int] = []
    errors: list[str] = []
    resolved: dict[str, str] = {}
    for file in files:
        match = CLASS_FILE.fullmatch(file.name)
        if match is None:
            raise ValueError(f"data.labels is {file}; expected CLASS_SPLIT.txt, such as dog_train.txt")
        codes = of_class.setdefault(match[1], {})
        for line, text in enumerate(read_text(file, "label file").split("\n"), start=1):
            fields = text.split()
            if not fields:
                continue
            try:
                if len(fields) != 2 or fields[1] not in CODES:
                    raise ValueError(f"the row is {text[:80]!r}; expected an image and 1, -1 or 0")
                if (name := resolved.get(fields[0])) is None:
                    name = resolved[fields[0]] = images.resolve(fields[0])
                image = names.setdefault(name, len(names))
                if image == len(places):
                    places.append(line)
                _add(codes, parts, name, image, fields[1], match)
            except ValueError as error:
                errors.append(f"{file} line {line}: {error}")
    if errors:
        raise ValueError(join_errors(errors))
    if not names:
        raise ValueError(f"{files[0].parent}: no rows in the class files; expected lines such as '000005 -1'")
    attributes = check_names(list(of_class), f"{files[0].parent}")
    table = np.full((len(names), len(attributes)), NO_ROW, np.uint8)
    for column, codes in enumerate(of_class.values()):
        table[list(codes), column] = list(codes.values())
    return Annotations(
        list(names),
        attributes,
        LEGEND,
        table,
        np.arange(len(names)),
        places,
        splits=_splits(parts, len(names)),
    )


def _add(
    codes: dict[int, int], parts: dict[int, set[str]], name: str, image: int, value: str, match: re.Match
) -> None:
    """Add the label and the split of an image.

    Raises:
        ValueError: Another file of the class has another label, or another file another split.
    """
    if codes.setdefault(image, CODES[value]) != CODES[value]:
        before = LEGEND[codes[image]].text
        raise ValueError(f"{match[1]!r} of {name!r} is {value}; expected {before}, as before")
    # trainval consists of train and val: what remains is what all files agree on
    left = parts.get(image, {"train", "val", "test"}) & PARTS[match[2]]
    if not left:
        before = " or ".join(sorted(parts[image]))
        raise ValueError(f"{name!r} is in {match[2]}; expected {before}, as before")
    parts[image] = left


def _splits(parts: dict[int, set[str]], count: int) -> list[str] | None:
    """The split of each image, train where only trainval states it; None where there is a single split."""
    splits = [min(parts[image]) if len(parts[image]) == 1 else "train" for image in range(count)]
    return splits if len(set(splits)) > 1 else None
