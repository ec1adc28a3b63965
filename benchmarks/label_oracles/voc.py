"""A naive reader of VOC's class files and XML files."""

import posixpath
from pathlib import Path
from xml.etree import ElementTree

from aimonk.data.formats.voc.reading import read_voc

READER = read_voc
LABELS = ["", "ImageSets/Main", "ImageSets/Main/chair_trainval.txt", "Annotations", "Annotations/000005.xml"]
SETTINGS = [{"blank": "absent"}, {"blank": "unknown"}]
VALUES = {"1": True, "-1": False, "0": None}


def state(path: Path, blank: str):
    if path.suffix == ".xml":
        return state_xml([path], blank)
    if path.name == "Annotations":
        return state_xml(sorted(path.glob("*.xml")), blank)
    files = [path] if path.is_file() else sorted(path.rglob("*_*.txt"))
    rows = [
        (posixpath.normpath(line.split()[0]), file.stem.rpartition("_")[0].strip(), VALUES[line.split()[1]])
        for file in files
        for line in file.read_text("utf-8-sig").split("\n")
        if line.strip()
    ]
    classes = {file.stem.rpartition("_")[0].strip() for file in files}
    found = {name: {label: [None] for label in classes} for name, _, _ in rows}
    for name, label, value in rows:
        found[name][label] = [value]
    return found


def state_xml(files: list[Path], blank: str):
    objects: dict[str, dict[str, list[str]]] = {}
    for file in files:
        root = ElementTree.fromstring(file.read_bytes())
        name = file.stem
        inside = (root.findtext("filename") or "").strip().replace("\\", "/").split("/")[-1]
        suffixes = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo")
        if inside.lower().endswith(suffixes) and inside.rpartition(".")[0] == file.stem:
            name = inside
        objects[name] = {}
        for item in root:
            if item.tag == "object":
                difficult = (item.findtext("difficult") or "").strip() or "0"
                objects[name].setdefault(item.findtext("name").strip(), []).append(difficult)
    labels = {label for own in objects.values() for label in own}
    other = {"absent": False, "unknown": None}[blank]
    return {
        name: {label: [(True if "0" in own[label] else None) if label in own else other] for label in labels}
        for name, own in objects.items()
    }


def splits(path: Path, blank: str) -> dict[str, str]:
    """The split of each image; empty where there are none."""
    if path.suffix == ".xml" or path.name == "Annotations":
        return {}
    parts: dict[str, set[str]] = {}
    for file in [path] if path.is_file() else sorted(path.rglob("*_*.txt")):
        for line in file.read_text("utf-8-sig").split("\n"):
            if line.strip():
                parts.setdefault(posixpath.normpath(line.split()[0]), set()).add(file.stem.rpartition("_")[2])
    found = {}
    for name, own in parts.items():
        (found[name],) = own - {"trainval"} or {"train"}
        if "trainval" in own and found[name] == "test":
            raise ValueError(f"{name} is in trainval and test")
    return found if len(set(found.values())) > 1 else {}
