"""The XML of CVAT: labels with their attributes in `<meta>`, and the tags and shapes of each image."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

from aimonk.files.text import join_errors, one_line
from aimonk.files.xml_file import iterate_xml

SHAPES = ("tag", "box", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")
EXPECTED = "expected an export as 'CVAT for images 1.1'"


@dataclass(frozen=True)
class Definition:
    """An attribute of a label: its input type, such as `checkbox` or `select`, and its values."""

    kind: str
    values: list[str]


@dataclass
class Labelled:
    """An image with its labels.

    Attributes:
        place: The id, or the position in the file where images have none.
        subset: As in the file, empty where there is none.
        labels: Label -> attribute -> the value in each of its tags and shapes, empty where it is missing.
    """

    place: int
    name: str
    subset: str
    labels: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def read_labelled(path: Path) -> tuple[dict[str, dict[str, Definition]], list[Labelled]]:
    """The attributes that `<meta>` defines for each label, and all images.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has errors; the message lists the first ten with their images.
    """
    definitions: dict[str, dict[str, Definition]] = {}
    found: list[Labelled] = []
    errors: list[str] = []
    elements = iterate_xml(path, "label file")
    root = next(elements)
    if root.tag != "annotations":
        raise ValueError(f"{path}: the root is {root.tag[:40]!r}; {EXPECTED}")
    for element in elements:
        if element.tag == "version" and (element.text or "").strip() != "1.1":
            raise ValueError(f"{path}: the version is {(element.text or '').strip()[:40]!r}; {EXPECTED}")
        if element.tag == "track":
            raise ValueError(f"{path}: the file has tracks of a video; {EXPECTED}")
        if element.tag not in ("meta", "image"):
            continue
        place = _read_id(element, len(found) + 1)
        try:
            if element.tag == "meta":
                _read_meta(element, definitions)
            else:
                found.append(_read_image(element, place))
        except ValueError as error:
            where = "<meta>" if element.tag == "meta" else f"image {place}"
            errors.append(f"{path} {where}: {error}")
    if errors:
        raise ValueError(join_errors(errors))
    if not found:
        raise ValueError(f"{path}: no images in the file; {EXPECTED}")
    return definitions, found


def _read_id(element: Element, position: int) -> int:
    text = element.get("id", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else position


def _read_meta(meta: Element, definitions: dict[str, dict[str, Definition]]) -> None:
    """Add the labels of the task or project; the points of skeletons are none.

    Raises:
        ValueError: A label or attribute has no name.
    """
    for label in (label for labels in meta.iter("labels") for label in labels.iterfind("label")):
        if (label.findtext("parent") or "").strip():
            continue
        own = definitions.setdefault(_require_name(label, "label"), {})
        for attribute in label.iterfind("attributes/attribute"):
            name = _require_name(attribute, "attribute")
            values = [one_line(value) for value in (attribute.findtext("values") or "").split("\n")]
            kind = (attribute.findtext("input_type") or "").strip().lower()
            own[name] = Definition(kind, list(dict.fromkeys(value for value in values if value)))


def _require_name(element: Element, kind: str) -> str:
    name = one_line(element.findtext("name") or "")
    if not name:
        raise ValueError(f"a {kind} has no name; {EXPECTED}")
    return name


def _read_image(element: Element, place: int) -> Labelled:
    """An image with its labels.

    Raises:
        ValueError: It has no name, or a tag or shape has no label.
    """
    image = Labelled(place, element.get("name", "").strip(), element.get("subset", ""))
    if not image.name:
        raise ValueError("the image has no name; expected a path in the images folder")
    counts: Counter[str] = Counter()
    for shape in element:
        if shape.tag not in SHAPES:
            raise ValueError(f"an element is {shape.tag[:40]!r}; expected one of {', '.join(SHAPES)}")
        label = one_line(shape.get("label", ""))
        if not label:
            raise ValueError(f"a {shape.tag} has no label; expected one of those in <meta>")
        known, before = image.labels.setdefault(label, {}), set()
        for attribute in shape.iterfind("attribute"):
            name = one_line(attribute.get("name", ""))
            if not name or name in before:
                fault = "twice" if name else "without a name"
                raise ValueError(f"a {shape.tag} of {label[:80]!r} has an attribute {name[:80]!r} {fault}")
            before.add(name)
            # other shapes of the label may lack the attribute
            values = known.setdefault(name, [""] * counts[label])
            values.append(one_line(attribute.text or ""))
        counts[label] += 1
        for values in known.values():
            values += [""] * (counts[label] - len(values))
    return image
