"""A naive reader of Label Studio's exports."""

import json
import posixpath
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit

from label_oracles.table import gather, one_line, rows_of

from aimonk.data.formats.label_studio.reading import read_label_studio

READER = read_label_studio
LABELS = ["controls.json", "choices.json", "min.json", "export.csv"]
SETTINGS = [
    {
        **{"image_key": None, "controls": None, "choices": "auto", "blank": blank},
        **{"annotations": annotations, "repeated": "error", "tokens": {}},
    }
    for blank in ("absent", "unknown", None)
    for annotations in ("newest", "all")
]
WORDS = {"true": True, "yes": True, "1": True, "present": True}
WORDS |= {"false": False, "no": False, "0": False, "absent": False}
WORDS |= dict.fromkeys(["", "unknown", "na", "nan", "null", "none"])
OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "split")


def state(path: Path, blank: str | None, annotations: str, **settings: Any):
    tasks = tasks_of(path)
    counts: dict[str, dict[str, None]] = {}
    for _, answers in tasks:
        for answer in answers:
            for control, chosen in answer["choices"].items():
                counts.setdefault(control, {}).update(dict.fromkeys(chosen))
    columns = []
    for control, chosen in counts.items():
        if all(word(choice) != "invalid" for choice in chosen):
            columns.append((control, None))
        else:
            columns += [(control, choice) for choice in chosen]
    alone = [choice or control for control, choice in columns]
    names, stated = [], []
    for address, answers in tasks:
        for answer in choose(answers, annotations) or [None]:
            entry = {}
            for control, choice in columns:
                name = choice or control
                name = f"{control}={choice}" if choice and alone.count(name) > 1 else name
                entry[name] = encode(answer, control, choice, blank)
            names.append(name_of(address))
            stated.append(entry)
    return gather(names, stated)


def word(choice: str) -> bool | str | None:
    text = choice.lower()
    if text in WORDS:
        return WORDS[text]
    try:
        return {1.0: True, 0.0: False}.get(float(text), "invalid")
    except ValueError:
        return "invalid"


def encode(answer: dict | None, control: str, choice: str | None, blank: str | None) -> bool | None:
    if answer is None:
        return None
    chosen = answer["choices"].get(control, [])
    if choice is not None:
        return True if choice in chosen else {"absent": False, "unknown": None}[blank]
    return word(chosen[0]) if chosen else None


def choose(answers: list[dict], annotations: str) -> list[dict]:
    people: dict[Any, list[dict]] = {}
    for i, answer in enumerate(answers):
        people.setdefault(0 if annotations == "newest" else answer["who"] or i, []).append(answer)
    return [
        own[0] if len(own) == 1 else sorted(own, key=lambda answer: time(answer["when"]))[-1]
        for own in people.values()
    ]


def time(value: Any) -> float:
    if not isinstance(value, str):
        return value
    found = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    return (found if found.tzinfo else datetime.fromisoformat(f"{found.isoformat()}+00:00")).timestamp()


def tasks_of(path: Path) -> list[tuple[str, list[dict]]]:
    """Address and submitted annotations of each task."""
    if path.suffix == ".csv":
        return flat_tasks([{key: cell(value) for key, value in row.items()} for row in rows_of(path)])
    content = json.loads(path.read_bytes().decode("utf-8-sig"))
    content = [content] if isinstance(content, dict) else content
    if not any(isinstance(t.get("data"), dict) or "annotations" in t or "completions" in t for t in content):
        return flat_tasks(content)
    key = None
    tasks = []
    for task in content:
        key = key or image_key(task["data"])
        answers = []
        for annotation in task.get("annotations", task.get("completions", [])):
            if annotation.get("was_cancelled") or annotation.get("skipped"):
                continue
            choices: dict[str, list[str]] = {}
            for result in annotation["result"]:
                value = result.get("value")
                is_region = isinstance(value, dict) and {"x", "y", "width", "height", "points"} & set(value)
                if result["type"].lower() == "choices" and not is_region and not result.get("parentID"):
                    choices.setdefault(one_line(result["from_name"]), []).extend(strings(value["choices"]))
            who = annotation.get("completed_by")
            if isinstance(who, dict):
                who = next((who[k] for k in ("email", "username", "id") if who.get(k)), None)
            who = f"{who}".strip() if isinstance(who, str | int) else ""
            when = annotation.get("updated_at") or annotation.get("created_at")
            answers.append({"choices": choices, "who": who, "when": when})
        tasks.append((task["data"][key].strip(), answers))
    return tasks


def flat_tasks(rows: list[dict]) -> list[tuple[str, list[dict]]]:
    key = image_key(rows[0])
    tasks: dict[Any, tuple[str, list[dict]]] = {}
    names = dict.fromkeys(name for row in rows for name in row if name not in (*OWN, key))
    # all but ratings and data of the task, which the reader ignores
    controls = [name for name in names if any(choices_of(row.get(name)) for row in rows)]
    for i, row in enumerate(rows):
        number = row.get("id")
        if isinstance(number, str) and number.isdecimal():
            number = int(number)
        number = number if type(number) is int else ("position", i)
        _, answers = tasks.setdefault((number, row[key].strip()), (row[key].strip(), []))
        if "annotation_id" in row and row["annotation_id"] is None:
            continue
        choices = {name: choices_of(row.get(name)) for name in controls}
        choices = {name: own for name, own in choices.items() if own}
        who = row.get("annotator")
        who = f"{who}".strip() if isinstance(who, str | int) else ""
        answers.append(
            {"choices": choices, "who": who, "when": row.get("updated_at") or row.get("created_at")}
        )
    return list(tasks.values())


def cell(text: str) -> Any:
    try:
        return json.loads(text) if text[:1] in ("{", "[") else text or None
    except ValueError:
        return text


def choices_of(value: Any) -> list[str]:
    found = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            found += strings(item.get("choices") or [])
        elif isinstance(item, str):
            found += strings(item)
    return found


def strings(value: Any) -> list[str]:
    return [one_line(item) for item in ([value] if isinstance(value, str) else value) if item.strip()]


def image_key(data: dict) -> str:
    ends = (".jpg", ".jpeg", ".png")
    found = [k for k, v in data.items() if isinstance(v, str) and v.lower().partition("?")[0].endswith(ends)]
    return "image" if isinstance(data.get("image"), str) else found[0]


def name_of(address: str) -> str:
    if "data/local-files/?d=" in address:
        return posixpath.normpath(
            unquote_plus(address.split("?d=")[1].split("&")[0], errors="surrogateescape").lstrip("/")
        )
    is_upload = "upload" in address.split("/")[:-1] and is_prefixed(unquote(address).split("/")[-1])
    if "://" not in address and not address.startswith("/") and not is_upload:
        return posixpath.normpath(address)
    path = address
    if address.startswith(("http://", "https://")):
        path = urlsplit(address).path
    last = unquote(path).split("/")[-1]
    return posixpath.normpath(last[9:] if is_upload else last)


def is_prefixed(name: str) -> bool:
    return name[8:9] == "-" and set(name[:8]) <= set("0123456789abcdef") and len(name) > 9
