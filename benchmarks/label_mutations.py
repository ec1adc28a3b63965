"""Random damage to label files: bytes, lines, fields, and nodes of JSON and XML."""

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

ODD_FIELDS = ["", " ", "NaN", "nan", "NA", "null", "None", "true", "1", "0", "-1", "1.0", "-1.0", "0.5", "2"]
ODD_FIELDS += ["1e400", "-0", "+1", "1_0", "inf", "٣", "Ж", "\u200b", "\u202e", "\x00", "\x1b[2J", "'", '"']
ODD_FIELDS += ['"a', 'a"', '""', "a,b", "a\tb", "a b", "\n", "\r", "\r\n", "../x.jpg", "/etc/passwd", "C:\\x"]
ODD_FIELDS += [
    "a.jpg",
    ".",
    "a//b",
    "#",
    "x" * 300,
    "x" * 200_000,
    "\ufeff",
    "\u2028",
    "#",
    ";",
    "&",
    "<",
    "]",
]
ODD_NODES = [None, True, False, 0, 1, -1, 1.0, 0.5, float("nan"), float("inf"), 10**30, -(10**400), [], {}]
ODD_NODES += [[1], {"id": 1}, [[[[]]]], *ODD_FIELDS]
ODD_BYTES = [
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xfe\xff",
    b"\r",
    b"\n",
    b'"',
    b"\xd0",
    b",",
    b"\\",
    b"<",
    b"{",
]


def mutate(content: bytes, suffix: str, rng: random.Random) -> bytes:
    """One to three random changes of a file with this suffix."""
    kinds: list[Callable] = [change_bytes, change_lines, change_fields, change_fields, change_encoding]
    kinds += {".json": [change_json] * 8, ".xml": [change_xml] * 8}.get(suffix, [change_fields] * 3)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        content = rng.choice(kinds)(content, rng)
    return content


def edit(items: list, rng: random.Random, odd: Callable[[], Any]) -> list:
    """Delete, duplicate, swap or replace an item of a list, or cut the list off."""
    if not items:
        return [odd()]
    i, j = rng.randrange(len(items)), rng.randrange(len(items))
    kind = rng.randrange(6)
    if kind == 0:
        return items[:i] + items[i + 1 :]
    if kind == 1:
        return [*items[:j], copy.deepcopy(items[i]), *items[j:]]
    if kind == 2:
        items[i], items[j] = items[j], items[i]
        return items
    if kind == 3:
        return [*items[:i], odd(), *items[i:]]
    if kind == 4 and rng.random() < 0.3:
        return items[:i]
    return [*items[:i], odd(), *items[i + 1 :]]


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    items = [content[i : i + 1] for i in range(len(content))]
    odd = lambda: rng.choice([*ODD_BYTES, bytes([rng.randrange(256)])])  # noqa: E731
    return b"".join(edit(items, rng, odd))


def change_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(edit(lines, rng, lambda: f"{rng.choice(ODD_FIELDS)}\n".encode()))


def change_fields(content: bytes, rng: random.Random) -> bytes:
    """Change what separators enclose: commas, white space, and the marks of JSON and XML."""
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    i = rng.randrange(len(lines))
    parts = re.split(r"([,\s:<>\[\]{}]+)", lines[i])
    fields = edit(parts[::2], rng, lambda: rng.choice(ODD_FIELDS))
    marks = (parts[1::2] or [","]) * (len(fields) + 1)
    lines[i] = "".join(
        field + mark for field, mark in zip(fields, [*marks[: len(fields) - 1], ""], strict=False)
    )
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def change_encoding(content: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(6)
    text = content.decode("utf-8", "replace")
    if kind == 0:
        return text.encode("utf-16")
    if kind == 1:
        return text.encode("cp1251", "replace")
    if kind == 2:
        return b"\xef\xbb\xbf" + content
    if kind == 3:
        return content.replace(b"\n", b"\r\n")
    if kind == 4:
        return content.replace(b"\n", b"\r")
    return b""


def change_json(content: bytes, rng: random.Random) -> bytes:
    """Edit a list or an object of a JSON file, if it is one."""
    try:
        root = [json.loads(content)]
    except (ValueError, RecursionError):
        return change_bytes(content, rng)
    nodes = [root]
    for node in nodes:
        nodes += [
            x for x in (node.values() if isinstance(node, dict) else node) if isinstance(x, list | dict)
        ]
    node = rng.choice(nodes)
    if isinstance(node, list):
        node[:] = edit(node, rng, lambda: rng.choice(ODD_NODES))
    else:
        keys, values = list(node), list(node.values())
        if rng.random() < 0.3:
            keys = edit(keys, rng, lambda: rng.choice([*keys, *ODD_FIELDS]))
        else:
            values = edit(values, rng, lambda: rng.choice(ODD_NODES))
        node.clear()
        node.update(zip(keys, values, strict=False))
    return json.dumps(root[0] if root else None, ensure_ascii=rng.random() < 0.5).encode("utf-8", "replace")


def change_xml(content: bytes, rng: random.Random) -> bytes:
    """Edit the children, the text, the tag or an attribute of an element of an XML file, if it is one."""
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        return change_bytes(content, rng)
    element = rng.choice(list(root.iter()))
    kind = rng.randrange(4)
    if kind == 0:
        element.text = rng.choice(ODD_FIELDS)
    elif kind == 1:
        element.tag = rng.choice([*(other.tag for other in root.iter()), "x"])
    elif kind == 2 and element.attrib:
        element.attrib[rng.choice(list(element.attrib))] = rng.choice(ODD_FIELDS)
    else:
        others = list(root.iter())
        element[:] = edit(list(element), rng, lambda: copy.deepcopy(rng.choice(others)))
    try:
        return ElementTree.tostring(root, encoding="utf-8")
    except (RecursionError, ValueError):
        return content
