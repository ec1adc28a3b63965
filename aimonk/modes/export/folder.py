"""The folder that `output=FOLDER/` writes: the model, scripts that run it without torch, and a model card."""

import contextlib
import json
from pathlib import Path

from aimonk.data.images import decoding
from aimonk.data.splits import read_assignment
from aimonk.export import folder as scripts
from aimonk.files.atomic import write_text
from aimonk.files.run_folder import LABELS_FILE, METRICS_FILE, SPLITS_FILE
from aimonk.files.tensors import load_tensors
from aimonk.report.model_card import PARTS, TrainingFacts
from aimonk.setup.run_config import DAMAGED, read_settings

MODEL_NAME = "model.onnx"
SETTINGS = ("backbone.name", "features.stages", "freeze", "loss", "missing", "augmentation", "optimizer")
REQUIREMENTS = """\
onnxruntime>=1.20
numpy>=1.26
pillow>=10.3
# for app.py: gradio
"""


def check_folder(output: Path) -> None:
    """Reject a folder with files of something else, which would be overwritten.

    Raises:
        FileNotFoundError: The folder that contains it does not exist.
        ValueError: It is a file, or has other files.
    """
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"output is {output}; expected a folder in an existing folder")
    if output.exists() and not output.is_dir():
        raise ValueError(f"output is {output}; expected a folder, and this is a file")
    if output.is_dir() and any(output.iterdir()) and not (output / MODEL_NAME).is_file():
        raise ValueError(f"output is {output}; expected a new or empty folder, or one of an earlier export")


def write_companions(folder: Path, card: str) -> None:
    """Write the files beside the model."""
    sources = [
        Path(decoding.__file__),
        *(Path(scripts.__file__).with_name(n) for n in ("predict.py", "app.py")),
    ]
    for source in sources:
        write_text(folder / source.name, source.read_text(encoding="utf-8"))
    write_text(folder / "requirements.txt", REQUIREMENTS)
    write_text(folder / "README.md", card)


def read_facts(run: Path) -> TrainingFacts:
    """What a run folder records of its data; what is missing or damaged there stays empty."""
    facts = TrainingFacts()
    with contextlib.suppress(*DAMAGED):
        metrics = json.loads((run / METRICS_FILE).read_text(encoding="utf-8"))
        facts.scores = {part: metrics[part] for part in PARTS if metrics.get(part) is not None}
        facts.refitted = "refit" in metrics
    with contextlib.suppress(*DAMAGED):
        parts = list(read_assignment(run / SPLITS_FILE).values())
        facts.images = {part: parts.count(part) for part in ("train", "val", "test") if part in parts}
    with contextlib.suppress(*DAMAGED):
        stored = load_tensors(run / LABELS_FILE)
        values = stored["labels"].numpy()  # [N, A], below 0 where unknown
        counts = [(values == 1).sum(0), (values == 0).sum(0), (values < 0).sum(0)]
        columns = zip(*(count.tolist() for count in counts), strict=True)
        facts.labels = dict(zip(stored["attributes"], columns, strict=True))
    with contextlib.suppress(*DAMAGED):
        settings = read_settings(run)
        named = {key: settings.get(key, settings.get(f"{key}._target_")) for key in SETTINGS}
        facts.settings = [f"{key} {str(value).rpartition('.')[2]}" for key, value in named.items()]
    return facts
