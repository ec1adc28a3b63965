"""Exports of Label Studio (JSON, JSON-MIN, CSV): the answers of annotators to the controls of each task."""

import logging
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aimonk.data.labels import has_image_suffix
from aimonk.files.text import join_errors, listed, one_line

log = logging.getLogger(__name__)

CHOICES = "choices"
EXPECTED = "an export of Label Studio: a list of tasks"


@dataclass
class Answer:
    """A submitted annotation: the choices of each control, and who made it when, where that is stated."""

    choices: dict[str, list[str]]
    annotator: str
    time: datetime | None


@dataclass
class Task:
    """An image to label.

    Attributes:
        place: The id, or the position in the file where tasks have none.
        address: The image.
        split: As in the column `split` of the data; None where there is none.
        answers: Submitted annotations; none where all were cancelled.
    """

    place: int
    address: str
    split: Any
    answers: list[Answer] = field(default_factory=list)


def is_task(item: Mapping[str, Any]) -> bool:
    """Whether an object is a task of a JSON export, and not a row of JSON-MIN."""
    return isinstance(item.get("data"), dict) or bool(item.keys() & {"annotations", "completions"})


def read_tasks(path: Path, content: Any, image_key: str | None, controls: Sequence[str] | None) -> list[Task]:
    """Read the tasks of a JSON export.

    Args:
        content: Of the file.
        image_key: Key of the image in the data of a task; None for `image` or the only image.
        controls: Names of the controls to read; None for all with choices.

    Raises:
        ValueError: The file has errors; the message lists the first ten with their tasks.
    """
    tasks = [content] if isinstance(content, dict) and is_task(content) else content
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
        raise ValueError(f"{path}: the content is {show(content)}; expected {EXPECTED}")
    found: list[Task] = []
    errors: list[str] = []
    ignored: Counter[str] = Counter()
    key = image_key
    for position, task in enumerate(tasks, start=1):
        place = task["id"] if type(task.get("id")) is int else position
        try:
            data = task.get("data")
            if not isinstance(data, dict):
                raise ValueError(f"data is {show(data)}; expected an object with the image")
            key = key or find_image_key(data)
            found.append(Task(place, read_address(data, key), data.get("split")))
            found[-1].answers += _read_answers(task, controls, ignored)
        except ValueError as error:
            errors.append(f"{path} task {place}: {error}")
    if errors:
        raise ValueError(join_errors(errors))
    if ignored:
        log.warning(
            "%s: ignored, since only choices for the image are labels: %s", path, listed(list(ignored))
        )
    return found


def find_image_key(data: Mapping[str, Any]) -> str:
    """The key of the image.

    Raises:
        ValueError: There is none, or several.
    """
    if isinstance(data.get("image"), str):
        return "image"
    keys = [key for key, value in data.items() if isinstance(value, str) and _is_image(value)]
    if len(keys) != 1:
        got = (
            f"has the images {listed(keys)}" if keys else f"has no image in {listed(list(data)) or 'no key'}"
        )
        raise ValueError(f"the data {got}; expected data.image_key=..., the key of the image")
    return keys[0]


def _is_image(value: str) -> bool:
    return has_image_suffix(value.partition("?")[0]) or has_image_suffix(value)


def read_address(data: Mapping[str, Any], key: str) -> str:
    """The address of the image.

    Raises:
        ValueError: It is no string, or empty.
    """
    address = data.get(key)
    if not isinstance(address, str) or not address.strip():
        raise ValueError(f"the image {key[:80]!r} is {show(address)}; expected a path or an address")
    return address.strip()


def _read_answers(
    task: Mapping[str, Any], controls: Sequence[str] | None, ignored: Counter[str]
) -> Iterator[Answer]:
    """The submitted annotations of a task; predictions and drafts are none.

    Raises:
        ValueError: The annotations are no list of objects with a list `result`.
    """
    # named completions before version 1.0
    annotations = task.get("annotations", task.get("completions", []))
    if not isinstance(annotations, list):
        raise ValueError(f"annotations is {show(annotations)}; expected a list")
    for annotation in annotations:
        if not isinstance(annotation, dict):
            raise ValueError(f"an annotation is {show(annotation)}; expected an object")
        cancelled = [annotation.get(key) or False for key in ("was_cancelled", "skipped")]
        if not all(isinstance(value, bool) for value in cancelled):
            raise ValueError(f"was_cancelled is {show(cancelled[0])}; expected true or false")
        if any(cancelled):
            continue
        result = annotation.get("result")
        if not isinstance(result, list):
            raise ValueError(f"the result of an annotation is {show(result)}; expected a list")
        choices = _read_result(result, controls, ignored)
        time = annotation.get("updated_at") or annotation.get("created_at")
        yield Answer(choices, read_annotator(annotation.get("completed_by")), read_time(time))


def _read_result(
    result: list[Any], controls: Sequence[str] | None, ignored: Counter[str]
) -> dict[str, list[str]]:
    """The choices of each control; other results and choices of regions are counted in `ignored`."""
    found: dict[str, list[str]] = {}
    for item in result:
        if not isinstance(item, dict):
            raise ValueError(f"a result is {show(item)}; expected an object")
        kind, name, value = item.get("type"), item.get("from_name"), item.get("value")
        if not isinstance(kind, str):
            raise ValueError(f"the type of a result is {show(kind)}; expected a string, such as choices")
        if isinstance(name, str) and controls is not None and one_line(name) not in controls:
            continue
        if kind.lower() != CHOICES:
            ignored[f"{kind} of {name}" if isinstance(name, str) else kind] += 1
            continue
        if not isinstance(name, str) or not name.strip() or not isinstance(value, dict):
            raise ValueError(f"choices of {show(name)} are {show(value)}; expected from_name and a value")
        if value.keys() & {"x", "y", "width", "height", "points"} or item.get("parentID"):
            ignored[f"choices of {name} for regions"] += 1
            continue
        found.setdefault(one_line(name), []).extend(read_choices(value.get(CHOICES), name))
    return found


def read_choices(value: Any, control: str) -> list[str]:
    """The choices in a list or of a single string, which may be empty.

    Raises:
        ValueError: The value is something else.
    """
    choices = [value] if isinstance(value, str) else value
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"the choices of {control[:80]!r} are {show(value)}; expected a list of strings")
    return [one_line(choice) for choice in choices if choice.strip()]


def read_annotator(value: Any) -> str:
    """The e-mail address or id of an annotator, an empty string where it is not stated."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("email", "username", "id") if value.get(key)), None)
    return f"{value}".strip() if isinstance(value, str | int) else ""


def read_time(value: Any) -> datetime | None:
    """A time in ISO 8601 or seconds since 1970; None where it is neither."""
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
            return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def show(value: Any) -> str:
    """A value of any size and depth, for a message."""
    return "null" if value is None else reprlib.repr(value)[:80]
