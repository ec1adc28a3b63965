from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.labels import LabelTable
from aimonk.data.repeated import combine
from aimonk.data.shards.labels import ShardLabels

MISSING = (
    "^data.blank is null; expected absent or unknown, the meaning of 2 labels that s.tar does not have, "
    "such as 'scarf' of '0.jpg': absent if all that is present is listed, unknown if nobody looked"
)


def read(
    entries: list[dict[str, Any]],
    blank: str | None = None,
    attributes: list[str] | None = None,
    key: str | None = None,
    tokens: Tokens | None = None,
) -> LabelTable:
    labels = ShardLabels(attributes, Tokens() if tokens is None else tokens, key)
    for i, entry in enumerate(entries):
        labels.add(f"{i}.jpg", entry, f"s.tar: '{i}.jpg'")
    return combine(labels.annotations(blank, "s.tar"), "error", Path("s.tar"))


def values(table: LabelTable) -> list[list[float | None]]:
    return np.where(table.mask, table.labels, None).tolist()


def test_values_and_null() -> None:
    table = read([{"hat": 1, "scarf": None}, {"scarf": False, "hat": "NA"}, {"hat": 0.0, "scarf": "yes"}])
    assert (table.names, table.attributes) == (["0.jpg", "1.jpg", "2.jpg"], ["hat", "scarf"])
    assert values(table) == [[1, None], [None, 0], [0, 1]]
    assert table.splits is None


@pytest.mark.parametrize(("blank", "value"), [("absent", 0), ("unknown", None)])
def test_missing_label_needs_a_meaning(blank: str, value: float | None) -> None:
    entries = [{"hat": 1}, {"scarf": 0}]
    assert values(read(entries, blank)) == [[1, value], [value, 0]]
    with pytest.raises(ValueError, match=MISSING):
        read(entries)


def test_list_of_what_is_present() -> None:
    entries = [{"tags": ["hat"]}, {"tags": []}, {"tags": ["scarf", "hat"]}]
    table = read(entries, "absent", key="tags")
    assert table.attributes == ["hat", "scarf"] and values(table) == [[1, 0], [0, 0], [1, 1]]
    assert values(read(entries, "unknown", ["scarf"], "tags")) == [[None], [None], [1]]
    with pytest.raises(ValueError, match=r"^data\.blank is null"):
        read(entries, key="tags")


def test_nested_values_and_splits() -> None:
    entries = [
        {"labels": {"hat": 1, "split": 0}, "split": "train"},
        {"labels": {"hat": 0, "split": 1}, "split": "validation"},
    ]
    table = read(entries, key="labels")
    assert (table.attributes, table.splits) == (["hat", "split"], ["train", "val"])
    assert read([{"hat": 1, "split": "dev"}]).attributes == ["hat"]
    with pytest.raises(ValueError, match=r"'1.jpg' has no 'split'"):
        read([{"hat": 1, "split": "test"}, {"hat": 1}])


def test_selected_attributes() -> None:
    entries = [{"hat": 1, "caption": "a hat", "width": 640, "scarf": 0}]
    table = read(entries, attributes=["scarf", "hat"])
    assert table.attributes == ["scarf", "hat"] and values(table) == [[0, 1]]
    with pytest.raises(
        ValueError, match=r"^data\.attributes has 'hot', no label of s\.tar; did you mean 'hat'\?$"
    ):
        read(entries, attributes=["hot"])


def test_wrong_values_are_reported_with_their_place() -> None:
    entries = [{"hat": 1, "caption": "a hat"}, {"hat": -1, "caption": None}, {"hat": -1, "caption": None}]
    with pytest.raises(ValueError) as caught:
        read(entries)
    first, second, third = f"{caught.value}".splitlines()
    assert first.startswith("s.tar: '0.jpg': 'caption' is 'a hat'; expected 1, 0 or NA")
    assert second.startswith("s.tar: '1.jpg': 'hat' is '-1' (2 labels of 1 attribute); expected 1, 0 or NA")
    assert third == "s.tar: data.attributes=[...] selects the labels among the keys hat, caption"
    assert values(read(entries, attributes=["hat"], tokens=Tokens(absent=[-1]))) == [[1], [0], [0]]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"hat": 1}, "'tags' is missing; expected data.label_key, one of the keys hat"),
        ({"tags": "hat"}, "'tags' is 'hat'; expected data.label_key"),
        ({"tags": {"hat": [1]}}, r"'hat' is '\[1\]'; expected 1, 0 or NA"),
    ],
)
def test_wrong_nesting(entry: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^s.tar: '0.jpg': {message}"):
        read([entry], key="tags")


def test_no_labels_at_all() -> None:
    for entries in ([], [{}]):
        with pytest.raises(ValueError, match=r"^s\.tar: no labels; expected a JSON member"):
            read(entries)


def test_legend_has_each_value_once() -> None:
    labels = ShardLabels(None, Tokens(absent=[-1]), None)
    for i, entry in enumerate([{"hat": 1, "scarf": "1.0"}, {"hat": None}, {"hat": -1, "scarf": "NULL"}]):
        labels.add(f"{i}.jpg", entry, "")
    found = labels.annotations("unknown", "s.tar")
    legend = {
        text: (meaning, count)
        for (text, meaning), count in zip(found.legend, found.counts().sum(1), strict=True)
    }
    assert legend == {
        "missing": (UNKNOWN, 1),
        "listed": (PRESENT, 0),
        "1": (PRESENT, 2),
        "null": (UNKNOWN, 2),
        "-1": (ABSENT, 1),
    }


def test_token_that_is_spelled_like_a_value_of_the_legend() -> None:
    tokens = Tokens(unknown=["missing"], absent=["listed"])
    table = read([{"hat": "missing", "scarf": "listed"}, {"hat": 1}], blank="absent", tokens=tokens)
    assert values(table) == [[None, 0], [1, 0]]
