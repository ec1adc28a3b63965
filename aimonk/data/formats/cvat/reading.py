"""CVAT: "CVAT for images 1.1", XML with tags, shapes and their attributes."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aimonk.data.annotations import ABSENT, MOST_ENTRIES, PRESENT, UNKNOWN, Annotations, Value
from aimonk.data.formats.blank import blank_meaning
from aimonk.data.formats.cvat.elements import Definition, Labelled, read_labelled
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.legend import GrowingLegend
from aimonk.data.formats.text.tokens import INVALID, simplify
from aimonk.data.formats.words import Words
from aimonk.data.labels import SPLIT_NAMES, check_names
from aimonk.files.text import join_errors, listed

log = logging.getLogger(__name__)

UNDEFINED = "__undefined__"
FREE = ("text", "number")  # input types of attributes that are no labels
MOST_VALUES = 100  # of an attribute that <meta> does not define
NOT_STATED, ON_IMAGE, NOT_ON_IMAGE, CHOSEN, NOT_CHOSEN, VALUE_UNDEFINED = range(6)


def read_cvat(
    path: Path, images: ImageNames, blank: str | None, tokens: Mapping[str, Sequence]
) -> Annotations:
    """Read tags and shapes: each label is an attribute, present where the image has a tag or shape of it.

    Attributes of labels are attributes too. A checkbox, or a select of words such as yes and no, is named
    `label.attribute`, and present if one tag or shape has it, absent if all lack it. Any other select has an
    attribute `label.attribute=value` for each value. Both are unknown where the image does not have the label
    and where the value is `__undefined__`. Texts and numbers are no labels.

    Args:
        blank: `absent` or `unknown`: the meaning of a label that an image does not have.
        tokens: Arguments of Tokens.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Errors in the file or the settings; the message lists the first ten with their images.
    """
    words = Words(tokens)
    unknown = {UNDEFINED, "unknown", "", *(simplify(f"{token}") for token in tokens.get("unknown", ()))}
    definitions, labelled = read_labelled(path)
    columns = _find_columns(path, definitions, labelled, words, unknown)
    names = check_names([column.name for column in columns], f"{path}")
    if len(labelled) * len(columns) > MOST_ENTRIES:
        raise ValueError(f"{path}: too many images and labels for a table; expected {MOST_ENTRIES:,} entries")
    legend = _make_legend(columns, labelled, blank)
    rows, owners, errors = [], [], []
    found: dict[str, int] = {}
    selects: dict[tuple[str, str | None], list[str]] = {}
    for column in columns:
        if column.value is not None:
            selects.setdefault((column.label, column.attribute), []).append(column.value)
    for image in labelled:
        try:
            _check_selects(image, selects, unknown)
            owners.append(found.setdefault(images.resolve(image.name), len(found)))
            rows.append(bytes(_encode(column, image, legend, words, unknown) for column in columns))
        except ValueError as error:
            errors.append(f"{path} image {image.place}: {error}")
    if errors:
        raise ValueError(join_errors(errors))
    return Annotations(
        list(found),
        names,
        legend.values,
        np.frombuffer(b"".join(rows), np.uint8).reshape(-1, len(columns)),
        np.array(owners, np.int64),
        [image.place for image in labelled],
        "image",
        splits=_read_splits(path, labelled, owners, len(found)),
        unstated=NOT_STATED,
    )


@dataclass(frozen=True)
class Column:
    """An attribute: a label, an attribute of it, or a value of an attribute."""

    label: str
    attribute: str | None = None
    value: str | None = None

    @property
    def name(self) -> str:
        name = self.label if self.attribute is None else f"{self.label}.{self.attribute}"
        return name if self.value is None else f"{name}={self.value}"


def _find_columns(
    path: Path,
    definitions: Mapping[str, Mapping[str, Definition]],
    labelled: Iterable[Labelled],
    words: Words,
    unknown: set[str],
) -> list[Column]:
    """The columns of all labels and their attributes, in the order of `<meta>`.

    Raises:
        ValueError: There are no labels, or an attribute without definition has many values.
    """
    seen: dict[str, dict[str, dict[str, None]]] = {label: {} for label in definitions}
    for image in labelled:
        for label, attributes in image.labels.items():
            own = seen.setdefault(label, {})
            for name, values in attributes.items():
                own.setdefault(name, {}).update(dict.fromkeys(values))
    if not seen:
        raise ValueError(f"{path}: no labels in the file; expected labels in <meta>")
    columns, ignored = [], []
    for label, attributes in seen.items():
        columns.append(Column(label))
        for name, own in (dict.fromkeys(definitions.get(label, {})) | attributes).items():
            definition = definitions.get(label, {}).get(name)
            if definition is not None and definition.kind in FREE:
                ignored.append(f"{label}.{name}")
                continue
            values = list(own or {}) if definition is None or not definition.values else definition.values
            values = [value for value in values if simplify(value) not in unknown]
            is_checkbox = definition is not None and definition.kind == "checkbox"
            if is_checkbox or not values or words.are_values(values):
                columns.append(Column(label, name))
            elif definition is None and len(values) > MOST_VALUES:
                raise ValueError(
                    f"{path}: attribute {name[:80]!r} of {label[:80]!r} has {len(values)} values and is not "
                    f"in <meta>; expected a select of at most {MOST_VALUES}"
                )
            else:
                columns += [Column(label, name, value) for value in values]
    if ignored:
        log.warning("%s: texts and numbers are no labels, ignored: %s", path, listed(ignored))
    return columns


def _make_legend(columns: Sequence[Column], labelled: Iterable[Labelled], blank: str | None) -> GrowingLegend:
    """The legend with its first values.

    Raises:
        ValueError: `data.blank` is needed and not given.
    """
    labels, meaning = [column.label for column in columns if column.attribute is None], UNKNOWN
    example = next(((i, label) for i in labelled for label in labels if label not in i.labels), None)
    if example is not None:
        meaning = blank_meaning(
            blank,
            f"a label that an image does not have, such as {example[1][:80]!r} of image {example[0].place}",
            "if all images were searched for all labels, also those without any",
            "if some were not",
        )
    return GrowingLegend(
        [
            Value("not stated", UNKNOWN),
            Value("tag or shape", PRESENT),
            Value("no tag or shape", meaning),
            Value("chosen", PRESENT),
            Value("another value", ABSENT),
            Value(UNDEFINED, UNKNOWN),
        ]
    )


def _check_selects(
    image: Labelled, selects: Mapping[tuple[str, str | None], list[str]], unknown: set[str]
) -> None:
    """Check the values of selects.

    Raises:
        ValueError: A value is none of those of its select, so that it would look like another one.
    """
    for (label, name), allowed in selects.items():
        for value in image.labels.get(label, {}).get(name, ()):
            if value not in allowed and simplify(value) not in unknown:
                expected = f"{listed(allowed)} or {UNDEFINED}, as in <meta>"
                raise ValueError(f"'{label[:80]}.{name[:80]}' is {value[:40]!r}; expected {expected}")


def _encode(column: Column, image: Labelled, legend: GrowingLegend, words: Words, unknown: set[str]) -> int:
    """The code of an entry.

    Raises:
        ValueError: A value of a checkbox or select has no meaning.
    """
    attributes = image.labels.get(column.label)
    if column.attribute is None:
        return NOT_ON_IMAGE if attributes is None else ON_IMAGE
    # one value for each tag or shape that states it
    values = (attributes or {}).get(column.attribute)
    if not values:
        return NOT_STATED
    if column.value is not None:
        if column.value in values:
            return CHOSEN
        return VALUE_UNDEFINED if any(simplify(value) in unknown for value in values) else NOT_CHOSEN
    meanings = {UNKNOWN if simplify(v) in unknown else words[v]: v for v in values}
    if INVALID in meanings:
        raise ValueError(
            f"{column.name[:80]!r} is {meanings[INVALID][:40]!r}; expected true, false or {UNDEFINED}, or "
            "words that data.tokens defines"
        )
    meaning = next(meaning for meaning in (PRESENT, UNKNOWN, ABSENT) if meaning in meanings)
    text = meanings[meaning]
    return VALUE_UNDEFINED if text in ("", UNDEFINED) else legend.code(text, meaning)


def _read_splits(
    path: Path, labelled: Sequence[Labelled], owners: Sequence[int], count: int
) -> list[str] | None:
    """The split of each image by its subset; None where the subsets are no splits.

    Raises:
        ValueError: An image is in two of them.
    """
    subsets = [SPLIT_NAMES.get(image.subset.strip().lower()) for image in labelled]
    if None in subsets:
        return None
    splits: dict[int, str] = {}
    for image, owner, subset in zip(labelled, owners, subsets, strict=True):
        if splits.setdefault(owner, subset) != subset:
            raise ValueError(
                f"{path} image {image.place}: {image.name[:80]!r} is in {subset}; expected {splits[owner]}, "
                "as before"
            )
    return [splits[i] for i in range(count)]
