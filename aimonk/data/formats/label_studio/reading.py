"""Label Studio: exports as JSON, JSON-MIN and CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aimonk.data.annotations import MOST_ENTRIES, Annotations
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.label_studio.columns import read_csv_rows, read_flat_tasks
from aimonk.data.formats.label_studio.controls import (
    CHOSEN,
    NO_ANSWER,
    NOT_CHOSEN,
    Column,
    find_columns,
    make_legend,
)
from aimonk.data.formats.label_studio.export import Answer, Task, is_task, read_tasks, show
from aimonk.data.formats.label_studio.image_addresses import ImageAddresses
from aimonk.data.formats.legend import GrowingLegend
from aimonk.data.formats.text.tokens import INVALID
from aimonk.data.formats.words import Words
from aimonk.data.labels import SPLIT_NAMES, SPLITS, check_names
from aimonk.files.json_file import read_json
from aimonk.files.text import join_errors

KEEP = ("newest", "all")
STYLES = ("auto", "values", "attributes")


def read_label_studio(
    path: Path,
    images: ImageNames,
    image_key: str | None,
    controls: Sequence[str] | None,
    choices: str,
    blank: str | None,
    annotations: str | None,
    repeated: str,
    tokens: Mapping[str, Sequence],
) -> Annotations:
    """Read the choices of an export. Predictions, drafts and cancelled annotations state nothing.

    A control is an attribute if its choices are words such as yes and absent: no choice is then unknown.
    Otherwise its choices are the attributes, and `blank` is the meaning of those that a submitted annotation
    does not have.

    Args:
        image_key: Key or column of the image; None for `image` or the only image.
        controls: Names of the controls to read; None for all that have choices.
        choices: Whether the choices of all controls are `values` or `attributes`; `auto` for the rule above.
        blank: `absent` or `unknown`.
        annotations: `newest` keeps the last submitted annotation of each task, `all` the last one of each
            annotator; None for the newest unless `repeated` combines several.
        repeated: How annotations of an image are combined.
        tokens: Arguments of Tokens.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Errors in the file or the settings; the message lists the first ten with their tasks.
    """
    if choices not in STYLES:
        raise ValueError(f"data.choices is {choices!r}; expected {', '.join(STYLES)}")
    if annotations is not None and annotations not in KEEP:
        raise ValueError(f"data.annotations is {annotations!r}; expected {', '.join(KEEP)}")
    keep = annotations or ("newest" if repeated == "error" else "all")
    words = Words(tokens)
    tasks = _read(path, image_key, controls, words)
    columns = find_columns(path, tasks, choices, controls, words)
    legend = make_legend(columns, blank)
    return _build(path, tasks, ImageAddresses(images), columns, legend, keep, words)


def _read(path: Path, image_key: str | None, controls: Sequence[str] | None, words: Words) -> list[Task]:
    """The tasks of an export of any form."""
    controls = None if controls is None else check_names(controls, "data.controls")
    if path.suffix.lower() in (".csv", ".tsv"):
        return read_flat_tasks(path, read_csv_rows(path), image_key, controls, words)
    content = read_json(path, "label file")
    are_objects = isinstance(content, list) and content and all(isinstance(item, dict) for item in content)
    if are_objects and not any(map(is_task, content)):
        return read_flat_tasks(path, content, image_key, controls, words)
    return read_tasks(path, content, image_key, controls)


def _build(
    path: Path,
    tasks: Sequence[Task],
    addresses: ImageAddresses,
    columns: Mapping[str, Column],
    legend: GrowingLegend,
    keep: str,
    words: Words,
) -> Annotations:
    names: dict[str, int] = {}
    splits: dict[int, str] = {}
    has_splits = any(_is_split(task.split) for task in tasks)
    rows, owners, places, annotators, errors = [], [], [], [], []
    if len(tasks) * len(columns) > MOST_ENTRIES:
        raise ValueError(
            f"{path}: too many tasks and attributes for a table; data.controls=[...] selects controls"
        )
    for task in tasks:
        try:
            name = addresses.resolve(task.address)
            image = names.setdefault(name, len(names))
            if has_splits:
                split = _read_split(task.split)
                if splits.setdefault(image, split) != split:
                    raise ValueError(
                        f"split of {name[:80]!r} is {split}; expected {splits[image]}, as before"
                    )
            for answer in _choose(task.answers, keep) or [None]:
                rows.append(bytes(_encode(answer, columns, legend, words)))
                owners.append(image)
                places.append(task.place)
                annotators.append(answer.annotator if answer else "")
        except ValueError as error:
            errors.append(f"{path} task {task.place}: {error}")
    if errors:
        raise ValueError(join_errors(errors))
    return Annotations(
        list(names),
        list(columns),
        legend.values,
        np.frombuffer(b"".join(rows), np.uint8).reshape(-1, len(columns)),
        np.array(owners, np.int64),
        places,
        "task",
        annotators if any(annotators) else None,
        list(splits.values()) if has_splits else None,
        NO_ANSWER,
    )


def _is_split(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() in SPLIT_NAMES


def _read_split(value: object) -> str:
    if not _is_split(value):
        raise ValueError(f"split is {show(value)}; expected {', '.join(SPLITS)}")
    return SPLIT_NAMES[value.strip().lower()]


def _choose(answers: Sequence[Answer], keep: str) -> list[Answer]:
    """The newest answer, or that of each annotator; answers of unknown annotators are all kept.

    Raises:
        ValueError: There are several without a time.
    """
    groups: dict[object, list[Answer]] = {}
    for i, answer in enumerate(answers):
        key = "" if keep == "newest" else answer.annotator or i
        groups.setdefault(key, []).append(answer)
    return [group[0] if len(group) == 1 else _newest(group) for group in groups.values()]


def _newest(answers: Sequence[Answer]) -> Answer:
    if any(answer.time is None for answer in answers):
        raise ValueError(
            f"{len(answers)} annotations, one without a readable updated_at; expected the time of each, "
            "or data.annotations=all"
        )
    return max(reversed(answers), key=lambda answer: answer.time)  # the last one of the same time


def _encode(
    answer: Answer | None, columns: Mapping[str, Column], legend: GrowingLegend, words: Words
) -> list[int]:
    """Codes of the legend, [A].

    Raises:
        ValueError: A choice has no meaning, or those of a control differ in it.
    """
    if answer is None:
        return [NO_ANSWER] * len(columns)
    codes = []
    for column in columns.values():
        chosen = answer.choices.get(column.control, [])
        if column.choice is not None:
            codes.append(CHOSEN if column.choice in chosen else NOT_CHOSEN)
            continue
        meanings = {words[choice] for choice in chosen}
        if INVALID in meanings or len(meanings) > 1:
            got = " and ".join(dict.fromkeys(repr(choice[:40]) for choice in chosen))
            raise ValueError(
                f"{column.control[:80]!r} is {got}; expected a word for present, absent or unknown, which "
                "data.tokens defines"
            )
        codes.append(legend.code(chosen[0], meanings.pop()) if chosen else NO_ANSWER)
    return codes
