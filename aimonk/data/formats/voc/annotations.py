"""XML annotations of VOC: a file per image, which lists its objects."""

import logging
import posixpath
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from aimonk.data.annotations import PRESENT, UNKNOWN, AnnotationCollector, Annotations, Value
from aimonk.data.formats.blank import blank_meaning
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.labels import check_names, has_image_suffix
from aimonk.files.text import join_errors, listed, plural
from aimonk.files.xml_file import read_xml

log = logging.getLogger(__name__)

OBJECT, DIFFICULT, NO_OBJECT = range(3)
LIMIT_MB = 16


def read_voc_xml(folder: Path, files: Sequence[Path], images: ImageNames, blank: str | None) -> Annotations:
    """Read objects: a class is present if one of its objects is not marked difficult, unknown if all are.

    VOC itself annotates all objects of its 20 classes, but the format does not state that, and is written by
    many tools: `blank` is needed. The image has the name of the XML file, as in the kit of VOC; its element
    `filename`, which copies often leave outdated, adds no more than the suffix.

    Args:
        folder: Where `files` are; images are in equal subfolders.
        blank: `absent` or `unknown`: the meaning of a class without an object in the file.

    Raises:
        ValueError: The setting is invalid, or the files have errors; the message lists the first ten.
    """
    meaning = blank_meaning(
        blank,
        "a class without an object in the file",
        "if all images were searched for all classes, as in VOC2007 to VOC2012",
        "if only some objects were marked",
    )
    legend = [Value("object", PRESENT), Value("difficult", UNKNOWN), Value("no object", meaning)]
    collector = AnnotationCollector(legend, NO_OBJECT)
    errors, outdated, before = [], [], {}
    for place, file in enumerate(files, start=1):
        try:
            root = read_xml(file, "annotation", LIMIT_MB)
            found = _read_objects(root)
            stem = file.relative_to(folder).with_suffix("").as_posix()
            name = _name_image(stem, root, images, outdated)
        except ValueError as error:
            text = f"{error}"
            errors.append(text if text.startswith(f"{file}") else f"{file}: {text}")
            continue
        if before.setdefault(name, file) != file:
            errors.append(f"{file}: the image is {name!r}; expected another one than that of {before[name]}")
            continue
        annotation = collector.annotation(name, place)
        for label, code in found.items():
            collector.set(annotation, label, code)
    if errors:
        raise ValueError(join_errors(errors))
    if outdated:
        log.warning(
            "%s with another filename inside: %s", plural(len(outdated), "XML file"), listed(outdated)
        )
    if not collector.attributes:
        raise ValueError(f"{folder}: no object in {plural(len(files), 'XML file')}")
    annotations = collector.build("file")
    check_names(annotations.attributes, f"{folder}")
    order = sorted(range(len(annotations.attributes)), key=annotations.attributes.__getitem__)
    return annotations.select(order)


def _read_objects(root: Element) -> dict[str, int]:
    """OBJECT or DIFFICULT of each class that has an object; parts of objects are not read."""
    if root.tag != "annotation":
        raise ValueError(f"the root element is {root.tag[:80]!r}; expected 'annotation'")
    found: dict[str, int] = {}
    for i, item in enumerate(root.findall("object"), start=1):
        label = _text(item, "name", f"object {i}")
        if not label:
            raise ValueError(f"object {i} has no name; expected the name of a class")
        difficult = _text(item, "difficult", f"object {i}") or "0"
        if difficult not in ("0", "1"):
            raise ValueError(f"difficult of object {i} is {difficult[:40]!r}; expected 0 or 1")
        code = DIFFICULT if difficult == "1" else OBJECT
        found[label] = min(code, found.get(label, code))
    return found


def _text(element: Element, tag: str, where: str) -> str:
    """The text of the child with a tag; empty if there is none.

    Raises:
        ValueError: There are several, or it has children itself.
    """
    children = element.findall(tag)
    if len(children) > 1 or (children and len(children[0])):
        raise ValueError(f"{where} has a {tag} that is repeated or no text; expected a single text")
    return (children[0].text or "").strip() if children else ""


def _name_image(stem: str, root: Element, images: ImageNames, outdated: list[str]) -> str:
    """The image of a file, by its path without suffix; the name inside is noted where it is another one."""
    inside = posixpath.basename(_text(root, "filename", "the root").replace("\\", "/"))
    base = posixpath.basename(stem)
    same = inside == base or (has_image_suffix(inside) and posixpath.splitext(inside)[0] == base)
    if inside and not same:
        outdated.append(f"{stem}.xml ({inside[:80]})")
    name = images.resolve(stem)
    if same and not has_image_suffix(name):
        name = images.resolve(posixpath.join(posixpath.dirname(stem), inside))
    return name
