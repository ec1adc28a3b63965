from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from aimonk.auditing.examine import Audit
from aimonk.data.labels import LabelTable
from aimonk.report.html.audit import describe_map, format_page


@pytest.fixture
def names(hostile: str) -> list[str]:
    return [hostile, "\u202egnp.exe", "a\x1b[2Jb\0", "\udcff"]


@pytest.fixture
def found(names: list[str]) -> Audit:
    """An audit of one image per name, which uses the names for attributes too, with findings of all kinds."""
    count = len(names)
    ones = np.ones((count, count))
    pair = {"attributes": names[:2], "attribute": names[0], "given": names[1], "on": "value"}
    entries = [
        {"image": name, "attribute": name, "label": 1, "probability": 0.25} for name in (*names, names[0])
    ]
    counts = {"present": count, "absent": 0, "na": 0}
    return Audit(
        table=LabelTable(names, names, ones, ones == 1),
        attributes={name: counts | {"evidence": name == names[0], "sentence": name} for name in names},
        duplicates=[names[:2]],
        near_duplicates=[names[2:]],
        series=None,
        contradictions=[{"images": names[2:], "attributes": names, "identical": False}],
        suspects=entries,
        to_label=[entry | {"label": None} for entry in entries],
        together=[pair | {"phi": 0.5, "p_adjusted": 0.01}, pair | {"phi": None, "p_adjusted": None}],
        unknown_depends=[pair | {"phi": -0.5, "p_adjusted": 0.01}],
        shift={"sentence": names[0]},
        missingness={
            "policy": "weak",
            "sentence": "missing=weak fits 4 of 4 attributes with NA",
            "attributes": {
                name: {"policy": "weak" if name == names[2] else "ignore", "sentence": f"{name}: NA"}
                for name in names
            },
        },
    )


@pytest.fixture
def files(names: list[str]) -> dict:
    """Files with problems of all kinds."""
    problems = {"missing": names, "unreadable": dict.fromkeys(names, names[0]), "unlisted": names}
    sizes = {"formats": {names[0]: 4}, "shortest_side": 32, "median_side": 40, "longest_side": 48}
    return {"rows": 5, "images": 4, "odd": dict.fromkeys(names, names[0])} | problems | sizes


def test_hostile_names_are_escaped_everywhere(found: Audit, files: dict, hostile: str, parse_page) -> None:
    content = format_page(found, files, np.zeros((4, 16, 16, 3), np.uint8), top=1)
    page = parse_page(content)
    read = " ".join(page.read)
    assert read.count(hostile) > 20
    alternatives = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert hostile in alternatives and "\ufffdgnp.exe" in alternatives
    assert "1 of 4 attributes can be learned" in read and "the first 1 of 2" in read


def test_groups_with_contradicting_labels_come_first(found: Audit, files: dict, parse_page) -> None:
    page = parse_page(format_page(found, files, np.zeros((4, 16, 16, 3), np.uint8), top=1))
    pairs = [
        attributes["class"] for tag, attributes in page.tags if attributes.get("class", "")[:4] == "pair"
    ]
    assert pairs == ["pair bad", "pair"]


def test_page_without_findings(found: Audit, parse_page) -> None:
    found.duplicates, found.near_duplicates, found.contradictions = [], [], []
    found.suspects, found.to_label, found.together, found.shift = [], [], [], None
    found.missingness = None
    files = {"rows": 4, "images": 4, "missing": [], "unreadable": {}, "unlisted": [], "odd": {}}
    files |= {"formats": {"PNG": 4}, "shortest_side": 32, "median_side": 40, "longest_side": 48}
    read = parse_page(format_page(found, files, np.zeros((4, 16, 16, 3), np.uint8), top=1)).read
    assert "Yes: every row has an image, every image has a row, and all images can be read." in read
    assert "No duplicate images." in read and read.count("None.") == 2
    assert "Associated attributes: none beyond chance." in read
    assert not any("missing" in text for text in read)


def test_page_recommends_a_policy_for_missing_labels(found: Audit, files: dict, parse_page) -> None:
    read = parse_page(format_page(found, files, np.zeros((4, 16, 16, 3), np.uint8), top=1)).read
    start = read.index("6. Why are labels missing?")
    assert read[start + 1] == "Recommended: missing=weak fits 4 of 4 attributes with NA."
    sentences = [text for text in read[start:] if text.endswith(": NA")]
    assert len(sentences) == 4 and sentences[0].startswith("a"), "other policies than ignore come first"


def make_found(found: Audit, count: int) -> Audit:
    """The audit with many attributes, of which every third can be learned, and associations in a chain."""
    names = [f"attribute {i}" for i in range(count)]
    entry = {"present": 1, "absent": 2, "na": 0}
    attributes = {
        name: entry | {"evidence": i % 3 == 0, "sentence": f"{name}: said"} for i, name in enumerate(names)
    }
    pairs = [
        {"attributes": [a, b], "phi": -0.5 if i % 2 else 0.75, "p_adjusted": 0.01 if i < 60 else 0.9}
        for i, (a, b) in enumerate(pairwise(names))
    ]
    return replace(found, attributes=attributes, together=pairs)


def test_map_has_the_strongest_significant_pairs(found: Audit) -> None:
    small = describe_map(make_found(found, 4))
    assert small["names"] == [f"attribute {i}" for i in range(4)] and not small["more"]
    cells = {(cell["row"], cell["column"]): cell["kind"] for cell in small["cells"]}
    kinds = {(0, 1): "positive", (1, 2): "negative", (2, 3): "positive"}
    assert cells == kinds | {(b, a): kind for (a, b), kind in kinds.items()}
    assert {cell["strength"] for cell in small["cells"]} == {"0.75", "0.50"}
    large = describe_map(make_found(found, 100))
    assert len(large["names"]) == 40 and large["more"]
    assert describe_map(replace(found, together=[])) is None


def test_long_lists_are_folded(found: Audit, files: dict, parse_page) -> None:
    names = [f"image_{i}.jpg" for i in range(30)]
    page = format_page(
        make_found(found, 60), files | {"missing": names}, np.zeros((4, 16, 16, 3), np.uint8), top=1
    )
    parse_page(page)
    missing = page.split("Rows without an image")[1].split("</details>")[0]
    assert "image_9.jpg" in missing.split("<details>")[0] and "image_10.jpg" in missing.split("<details>")[1]
    assert "20 more" in missing and "<svg" in page
    evidence = page.split("Can the labels be learned")[1]
    folded = evidence[evidence.index("10 more attributes") :].split("</details>")[0]
    assert folded.count("said") == 10 and "yes" not in folded
