"""A naive reader of COCO's and LVIS's JSON files."""

import json
import posixpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aimonk.data.formats.coco.reading import read_coco

READER = read_coco
LABELS = ["instances.json", "lvis.json"]
SETTINGS = [{"blank": "absent"}, {"blank": "unknown"}, {"blank": None}]


def state(path: Path, blank: str | None):
    content = json.loads(path.read_bytes().decode("utf-8-sig"))
    found: dict[str, dict[str, list[bool | None]]] = {}
    for image in content["images"]:
        name = image.get("file_name")
        if name is None:
            name = unquote(urlsplit(image["coco_url"]).path).split("/")[-1]
        negative, incomplete = image.get("neg_category_ids"), image.get("not_exhaustive_category_ids")
        own = {}
        for category in content["categories"]:
            annotated = any(
                a["image_id"] == image["id"] and a["category_id"] == category["id"]
                for a in content["annotations"]
            )
            if annotated:
                value = True
            elif negative is None and incomplete is None:
                value = {"absent": False, "unknown": None}[blank]
            else:
                value = False if category["id"] in (negative or []) else None
            own[category["name"].strip()] = [value]
        found[posixpath.normpath(name)] = own
    return found
