"""A naive reader of "CVAT for images 1.1"."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from label_oracles.table import gather, one_line

from aimonk.data.formats.cvat.reading import read_cvat

READER = read_cvat
LABELS = ["tags.xml", "project.xml"]
SETTINGS = [{"blank": blank, "tokens": {}} for blank in ("absent", "unknown", None)]
WORDS = {"true": True, "yes": True, "1": True, "present": True}
WORDS |= {"false": False, "no": False, "0": False, "absent": False}
WORDS |= dict.fromkeys(["", "__undefined__", "unknown", "na", "nan", "null", "none"])


def is_unknown(value: str) -> bool:
    return value.lower() in ("", "__undefined__", "unknown")


def word(value: str) -> bool | str | None:
    text = value.lower()
    if re.fullmatch(r"[+]?[0-9]+\.?0*", text):
        return {1.0: True, 0.0: False}.get(float(text), "invalid")
    return WORDS.get(text, "invalid")


def state(path: Path, blank: str | None, tokens: dict):
    root = ElementTree.fromstring(path.read_bytes())
    images = root.findall("image")
    columns = columns_of(root, images)
    stated = []
    for image in images:
        entry: dict[str, bool | None] = {}
        for label, attributes in columns.items():
            shapes = [shape for shape in image if one_line(shape.get("label")) == label]
            entry[label] = True if shapes else {"absent": False, "unknown": None, None: "blank"}[blank]
            for name, (kind, values) in attributes.items():
                own = [values_of(shape).get(name, "") for shape in shapes]
                if not any(name in values_of(shape) for shape in shapes):
                    own = []
                entry |= encode(f"{label}.{name}", kind, values, own)
        stated.append(entry)
    return gather([image.get("name").strip() for image in images], stated)


def columns_of(root: Any, images: list) -> dict[str, dict[str, tuple[str, list[str]]]]:
    """Label -> attribute -> input type and values, of `<meta>` and of the images."""
    columns: dict[str, dict[str, tuple[str, list[str]]]] = {}
    for label in root.findall("meta//labels/label"):
        if (label.findtext("parent") or "").strip():
            continue
        own = columns.setdefault(one_line(label.findtext("name")), {})
        for attribute in label.findall("attributes/attribute"):
            values = [one_line(value) for value in (attribute.findtext("values") or "").split("\n")]
            kind = (attribute.findtext("input_type") or "").strip().lower()
            own[one_line(attribute.findtext("name"))] = (kind, [value for value in values if value])
    defined = {(label, name) for label, own in columns.items() for name in own}
    for image in images:
        for shape in image:
            own = columns.setdefault(one_line(shape.get("label")), {})
            for name, value in values_of(shape).items():
                kind, values = own.setdefault(name, ("", []))
                is_defined = (one_line(shape.get("label")), name) in defined
                if not is_defined or (not values and kind != "checkbox") or kind == "seen":
                    own[name] = (
                        "seen" if is_defined and kind not in ("text", "number") else kind,
                        [*values, value],
                    )
    return columns


def values_of(shape: Any) -> dict[str, str]:
    return {one_line(a.get("name")): one_line(a.text or "") for a in shape.findall("attribute")}


def encode(name: str, kind: str, values: list[str], own: list[str]) -> dict[str, bool | None]:
    if kind in ("text", "number"):
        return {}
    choices = [value for value in values if not is_unknown(value)]
    words = [word(value) for value in choices]
    are_words = "invalid" not in words and any(value is not None for value in words)
    undefined = any(is_unknown(value) for value in own)
    if kind == "checkbox" or not choices or are_words:
        found = [None if is_unknown(value) else word(value) for value in own]
        return {name: True if True in found else None if None in found or not found else False}
    return {
        f"{name}={value}": True if value in own else None if undefined or not own else False
        for value in choices
    }
