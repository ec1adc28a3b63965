"""The model card of an exported model: attributes, scores, training data and limits."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aimonk.files.text import printable
from aimonk.models.checkpoint import ModelInfo
from aimonk.report.tables import describe_verdict, format_scores

PARTS = {"val": "Validation images", "test": "Test images"}
RESIZES = {
    "squash": "to a square, whatever the aspect ratio",
    "crop": "so that the short side fits, and cropped to the centre",
    "pad": "so that the long side fits, and padded with white",
}
VERDICTS = {True: "yes", False: "no evidence", None: "not tested"}


@dataclass
class TrainingFacts:
    """What a run folder records of its data; empty where it is missing.

    Attributes:
        scores: By part, `val` and `test`.
        images: Number of images by part.
        labels: Present, absent and unknown entries of each attribute.
        refitted: Whether the model was fitted again to training and validation images after the scores.
        settings: Such as `loss: MaskedLoss`.
    """

    scores: dict[str, dict] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    labels: dict[str, Sequence[int]] = field(default_factory=dict)
    refitted: bool = False
    settings: list[str] = field(default_factory=list)


def format_card(info: ModelInfo, facts: TrainingFacts, precision: str, version: str, size_mb: float) -> str:
    """The card in Markdown."""
    kind = f"{clean(info.backbone)}, {precision}, {size_mb:.1f} MB"
    sections = [
        "# Image attributes: " + ", ".join(map(clean, info.attributes)),
        f"A multi-label image classifier ({kind}) that gives each attribute a probability. Written by aimonk "
        f"{version}.",
        _usage(info),
        _attributes(info),
        *_scores(facts),
        *_training(facts),
        _limits(info, facts, precision),
    ]
    return "\n\n".join(sections) + "\n"


def clean(name: str) -> str:
    """A name from a file that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|&" else c for c in printable(name))


def _usage(info: ModelInfo) -> str:
    return f"""## Use

```
pip install -r requirements.txt
python predict.py photo.jpg                           # a table of probabilities and decisions
python predict.py photos --output attributes.csv      # all images below a folder
pip install gradio && python app.py                   # a page for trying images
```

In Python, from this folder:

```python
from decoding import decode
from predict import MODEL, Model

model = Model(MODEL, threads=0)
probabilities, decisions = model(decode("photo.jpg", model.size, model.resize)[None])
```

`model.onnx` takes uint8 RGB images [B, H, W, 3] of any size. It contains resizing
({RESIZES[info.resize]}; {info.image_size} pixels), normalisation, the network, calibration and
thresholds, and gives `probabilities` and `decisions`, [B, A] each. `decoding.py` reads image files as in
training: EXIF orientation, transparency on white, grey, CMYK and 16 bits."""


def _attributes(info: ModelInfo) -> str:
    lines = [
        "## Attributes",
        "",
        "| attribute | present from | predicted better than chance |",
        "|---|---|---|",
    ]
    for name, threshold, verdict in zip(info.attributes, info.thresholds, info.beats_chance, strict=True):
        lines.append(f"| {clean(name)} | {threshold:.3f} | {VERDICTS[verdict]} |")
    return "\n".join(lines)


def _scores(facts: TrainingFacts) -> list[str]:
    if not facts.scores:
        return ["## Scores\n\nUnknown: no images were held out, or their scores are not beside the model."]
    sections = ["## Scores\n\nWith 95 % intervals and, behind the bar, the score of a blind guess."]
    for part, scores in facts.scores.items():
        title = f"{PARTS[part]}: {facts.images[part]}" if part in facts.images else PARTS[part]
        table = "\n".join(map(printable, format_scores(scores, title).split("\n")))
        sections.append("```\n" + table.replace("`", "'") + "\n```")
        sections.append(f"Verdict: {clean(describe_verdict(scores))}.")
    if facts.refitted:
        sections.append(
            "The scored model was trained without these images. The model in this folder was then fitted to "
            "training and validation images together, with the same settings."
        )
    return sections


def _training(facts: TrainingFacts) -> list[str]:
    if not facts.labels:
        return []
    images = ", ".join(f"{count} {part}" for part, count in facts.images.items())
    table = ["| attribute | present | absent | unknown |", "|---|---|---|---|"]
    table += [f"| {clean(name)} | " + " | ".join(map(str, row)) + " |" for name, row in facts.labels.items()]
    settings = ", ".join(map(clean, facts.settings))
    return [
        f"## Training data\n\nImages: {images}. Their labels:",
        "\n".join(table),
        f"Settings: {settings}.",
    ]


def _limits(info: ModelInfo, facts: TrainingFacts, precision: str) -> str:
    limits = [
        "The scores hold for images like those of the training data. Other cameras, places or groups of "
        "people need a test of their own.",
        "The attributes are predicted independently: combinations that cannot occur may be predicted.",
        "Any image gets probabilities, also one that shows nothing of the kind.",
        "Images that another program decodes, or that the model resizes itself, give slightly different "
        "probabilities.",
    ]
    verdicts = zip(info.attributes, info.beats_chance, strict=True)
    doubtful = [clean(name) for name, verdict in verdicts if verdict is False]
    if doubtful:
        limits.insert(0, f"No evidence that these are predicted better than chance: {', '.join(doubtful)}.")
    if not facts.scores:
        limits.insert(0, "How well the attributes are predicted on new images is unknown.")
    if precision != "fp32":
        limits.append(f"The scores are those of the model in full precision; this file is {precision}.")
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)
