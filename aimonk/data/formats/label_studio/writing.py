"""Tasks for Label Studio of a label table, as `mode=import to=label_studio` writes them."""

import json
import logging
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from aimonk.data.labels import LabelTable

log = logging.getLogger(__name__)

LOCAL_FILES = "/data/local-files/?d="
IMAGE = "image"  # key of the data
TAG = "shown_image"  # unlike the names of controls, which are those of the attributes
WORDS = {True: "present", False: "absent"}


def format_label_studio(table: LabelTable, images: Path) -> str:
    """A task per image, with a control per attribute; unknown labels have no choice.

    Images without a known label have no annotation, so that they are still to be labelled. Logs the labelling
    configuration of the project.

    Args:
        images: The images folder, which the content does not depend on.
    """
    tasks = []
    for i, name in enumerate(table.names):
        known, present = table.mask[i], table.labels[i] > 0.5
        result = [
            _answer(table.attributes[column], [WORDS[bool(present[column])]])
            for column in known.nonzero()[0].tolist()
        ]
        data = {IMAGE: LOCAL_FILES + quote(name, errors="surrogateescape")}
        if table.splits is not None:
            data["split"] = table.splits[i]
        tasks.append({"data": data, "annotations": [{"result": result}] if result else []})
    if tasks and _order(tasks) != table.attributes:
        # controls without choices keep the order of the attributes, and those that are never known
        answers = {answer["from_name"]: answer for task in tasks[:1] for answer in _results(task)}
        complete = [answers.get(name) or _answer(name, []) for name in table.attributes]
        tasks[0]["annotations"] = [{"result": complete}]
    log.info(
        "Label Studio serves local files if LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=%s; labelling configuration of the project:\n%s",
        images.absolute(),
        format_configuration(table.attributes),
    )
    return json.dumps(tasks, indent=1) + "\n"


def format_configuration(attributes: list[str]) -> str:
    """The labelling configuration: the image, and present or absent for each attribute."""
    controls = [
        f"  <Header value={quoteattr(name)}/>\n"
        f'  <Choices name={quoteattr(name)} toName="{TAG}" choice="single-radio" showInline="true">\n'
        f'    <Choice value="{WORDS[True]}"/><Choice value="{WORDS[False]}"/>\n'
        "  </Choices>\n"
        for name in attributes
    ]
    return f'<View>\n  <Image name="{TAG}" value="${IMAGE}"/>\n{"".join(controls)}</View>'


def _answer(attribute: str, choices: list[str]) -> dict:
    return {"from_name": attribute, "to_name": TAG, "type": "choices", "value": {"choices": choices}}


def _results(task: dict) -> list[dict]:
    return [answer for annotation in task["annotations"] for answer in annotation["result"]]


def _order(tasks: list[dict]) -> list[str]:
    """The attributes in the order in which they are read back."""
    return list(dict.fromkeys(answer["from_name"] for task in tasks for answer in _results(task)))
