"""Controls of Label Studio that are attributes, or whose choices are the attributes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Value
from aimonk.data.formats.blank import blank_meaning
from aimonk.data.formats.label_studio.export import Task
from aimonk.data.formats.legend import GrowingLegend
from aimonk.data.formats.text.tokens import INVALID
from aimonk.data.formats.words import Words
from aimonk.data.labels import check_names

NO_ANSWER, CHOSEN, NOT_CHOSEN = range(3)  # of the legend


@dataclass(frozen=True)
class Column:
    """An attribute: a control, or a choice of it."""

    control: str
    choice: str | None


def find_columns(
    path: Path, tasks: Sequence[Task], style: str, controls: Sequence[str] | None, words: Words
) -> dict[str, Column]:
    """Attribute -> its column, in the order of the file or of `controls`.

    Raises:
        ValueError: There are no choices, or those of a control are partly words.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in controls or []}
    for task in tasks:
        for answer in task.answers:
            for control, chosen in answer.choices.items():
                counts.setdefault(control, Counter()).update(chosen)
    unused = [name for name in controls or [] if not counts[name]]
    if unused:
        raise ValueError(
            f"data.controls has {unused[0][:80]!r}, which has no choices in {path}; expected a control"
        )
    found = []
    for control, chosen in counts.items():
        if style == "values" or (style == "auto" and _are_values(path, control, chosen, words)):
            found.append(Column(control, None))
        else:
            found += [Column(control, choice) for choice in chosen]
    if not found:
        raise ValueError(f"{path}: no choices in a submitted annotation; expected controls of type Choices")
    # a choice is named alone where that is unique
    times = Counter(column.choice or column.control for column in found)
    names = [
        column.control
        if column.choice is None
        else f"{column.control}={column.choice}"
        if times[column.choice] > 1
        else column.choice
        for column in found
    ]
    return dict(zip(check_names(names, f"{path}"), found, strict=True))


def _are_values(path: Path, control: str, chosen: Counter[str], words: Words) -> bool:
    """Whether the choices of a control are words for present, absent and unknown.

    Raises:
        ValueError: Only some of them are.
    """
    known = next((choice for choice in chosen if words[choice] in (PRESENT, ABSENT)), None)
    invalid = next((choice for choice in chosen if words[choice] == INVALID), None)
    if known is None or invalid is None:
        return invalid is None
    raise ValueError(
        f"{path}: control {control[:80]!r} has the choices {known[:40]!r} and {invalid[:40]!r} "
        f"({chosen[invalid]:,} times); expected words for present, absent and unknown, which data.tokens "
        "defines, or data.choices=attributes"
    )


def make_legend(columns: Mapping[str, Column], blank: str | None) -> GrowingLegend:
    """The legend, whose first values are NO_ANSWER, CHOSEN and NOT_CHOSEN.

    Raises:
        ValueError: `data.blank` is needed and not given.
    """
    meaning = UNKNOWN
    lists = [column for column in columns.values() if column.choice is not None]
    if lists:
        meaning = blank_meaning(
            blank,
            f"a choice that a submitted annotation does not have, such as {lists[0].choice[:40]!r} of "
            f"{lists[0].control[:40]!r}",
            "if annotators chose all that an image has",
            "if they may have left some out (data.tokens defines choices that mean present or absent)",
        )
    # no answer: no submitted annotation, or no choice of the control
    return GrowingLegend(
        [Value("no answer", UNKNOWN), Value("chosen", PRESENT), Value("not chosen", meaning)]
    )
