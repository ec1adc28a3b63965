"""Labels inside shards: JSON members, or the other columns of Parquet files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np

from aimonk.data.annotations import PRESENT, UNKNOWN, Annotations, Value
from aimonk.data.formats.blank import blank_meaning
from aimonk.data.formats.text.tokens import INVALID, Tokens, simplify
from aimonk.data.formats.text.wrong_labels import WrongLabels
from aimonk.data.labels import SPLIT_NAMES, check_names
from aimonk.files.text import join_errors, listed, plural, suggest

SPLIT_KEY = "split"
BLANK, LISTED = range(2)  # codes of a label that an image does not have, and of a name in a list


@dataclass
class ShardLabels:
    """Collects the labels of images, one after another.

    Attributes:
        attributes: Selects and orders the attributes; None takes all, in the order of their first appearance.
        tokens: Meaning of the values.
        key: Of the labels within those of an image: an object of values, or a list of what is present. None
            where the values are not nested.
    """

    attributes: Sequence[str] | None
    tokens: Tokens
    key: str | None
    names: list[str] = field(default_factory=list)
    _columns: dict[str, int] = field(default_factory=dict)
    _legend: list[str] = field(default_factory=lambda: ["missing", "listed"])
    _codes: dict[str, int] = field(default_factory=dict)  # by the text of a value
    _keys: dict[str, None] = field(default_factory=dict)  # all that appeared, in order
    _rows: list[bytes] = field(default_factory=list)
    _splits: list[str | None] = field(default_factory=list)
    _places: list[str] = field(default_factory=list)  # of wrong labels
    _wrong: WrongLabels = field(default_factory=WrongLabels)
    _errors: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.attributes = check_names(self.attributes or [], "data.attributes")
        self._columns = {name: i for i, name in enumerate(self.attributes)}

    def add(self, name: str, entry: Mapping[str, Any], where: str) -> None:
        """Append an image.

        Args:
            entry: Its labels in the shard.
            where: Shard and member, for errors.
        """
        split = SPLIT_NAMES.get(f"{entry.get(SPLIT_KEY)}".lower())
        values = entry if self.key is None else entry.get(self.key)
        self.names.append(name)
        self._splits.append(split)
        if not isinstance(values, Mapping | list):
            found = "missing" if values is None else f"{f'{values}'[:80]!r}"
            keys = listed([f"{key}" for key in entry])
            self._fail(where, f"{self.key!r} is {found}; expected data.label_key, one of the keys {keys}")
            self._rows.append(b"")
            return
        codes, wrong = bytearray([BLANK]) * len(self._columns), {}
        for key, value in values.items() if isinstance(values, Mapping) else ((key, True) for key in values):
            if values is entry and key == SPLIT_KEY and split is not None:
                continue
            self._keys[f"{key}"] = None
            column = self._columns.get(f"{key}")
            if column is None:
                if self.attributes:
                    continue
                column = self._columns[f"{key}"] = len(codes)
                codes.append(BLANK)
            text = "null" if value is None else f"{value}"
            code = self._codes.get(text) if isinstance(values, Mapping) else LISTED
            if code is not None:
                codes[column] = code
            elif self.tokens[text] == INVALID:
                wrong[f"{key}"] = text
            else:
                codes[column] = self._codes[text] = self._number(simplify(text))
        if wrong:
            self._places.append(where)
            self._wrong.add(
                len(self._places), list(wrong), list(wrong.values()), bytes([INVALID]) * len(wrong)
            )
        self._rows.append(bytes(codes))

    def _number(self, text: str) -> int:
        """The code of a value, which the legend has once."""
        # the first values are no tokens, even if a token is spelled like one of them
        if text not in self._legend[LISTED + 1 :]:
            self._legend.append(text)
        return self._legend.index(text, LISTED + 1)

    def _fail(self, where: str, message: str) -> None:
        self._places.append(where)
        self._errors.append((len(self._places), message))

    def annotations(self, blank: str | None, source: str) -> Annotations:
        """The labels of all images.

        Args:
            blank: `absent` or `unknown`: meaning of an attribute that the labels of an image do not have.
            source: Names the shards in errors.

        Raises:
            ValueError: Wrong labels, or missing ones without `blank`.
        """
        self._check(source)
        codes = np.full((len(self._rows), len(self._columns)), BLANK, np.uint8)
        for row, own in zip(codes, self._rows, strict=True):
            row[: len(own)] = np.frombuffer(own, np.uint8)
        attributes, meaning, missing = check_names(list(self._columns), source), UNKNOWN, codes == BLANK
        if missing.any():
            row, column = np.unravel_index(missing.argmax(), missing.shape)
            count = f"{plural(int(missing.sum()), 'label')} that {source} does not have"
            what = f"{count}, such as {attributes[column]!r} of {self.names[row]!r}"
            rules = ("if all that is present is listed", "if nobody looked for the others")
            meaning = blank_meaning(blank, what, *rules)
        splits = self._splits if any(self._splits) else None
        if splits is not None and None in splits:
            name = self.names[splits.index(None)]
            raise ValueError(
                f"{source}: {name!r} has no {SPLIT_KEY!r}; expected one for each image or for none"
            )
        legend = [Value("missing", meaning), Value("listed", PRESENT)]
        legend += [Value(text, self.tokens[text]) for text in self._legend[LISTED + 1 :]]
        rows = np.arange(len(self.names))
        return Annotations(self.names, attributes, legend, codes, rows, rows, "image", splits=splits)

    def _check(self, source: str) -> None:
        found = sorted(self._errors + self._wrong.errors(), key=itemgetter(0))
        if found:
            errors = [f"{self._places[place - 1]}: {message}" for place, message in found]
            if not self.attributes and self._wrong.errors():
                keys = listed(list(self._keys))
                errors.append(f"{source}: data.attributes=[...] selects the labels among the keys {keys}")
            raise ValueError(join_errors(errors))
        for name in self.attributes:
            if name not in self._keys:
                hint = suggest(name, list(self._keys))
                raise ValueError(f"data.attributes has {name[:80]!r}, no label of {source}; {hint}")
        if not self._columns:
            raise ValueError(
                f'{source}: no labels; expected a JSON member such as {{"hat": 1}} beside each image'
            )
