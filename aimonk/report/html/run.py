"""The report of a run: a page that opens with a verdict on the model against chance."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from aimonk.data.labels import LabelTable
from aimonk.evaluation.evaluate import Evaluation, not_above_chance, verdict
from aimonk.files.atomic import write_text
from aimonk.files.run_folder import CURVE_FILE
from aimonk.files.text import listed, plural
from aimonk.report.data_notes import Notes
from aimonk.report.html.page import data_uri, embed, render
from aimonk.report.html.scoreboard import describe_folds, describe_scores
from aimonk.report.mistakes import MOST_SHOWN, Mistakes, worst_mistakes
from aimonk.report.plots.curves import plot_precision_recall, plot_reliability
from aimonk.report.plots.decisions import plot_decisions
from aimonk.report.plots.figure import save
from aimonk.report.plots.mistakes import plot_mistakes
from aimonk.report.plots.panels import hardest, split_panels
from aimonk.report.tables import NO_EPOCH, has_verdict
from aimonk.report.thumbnails import load_thumbnails

TITLES = {"test": "test images", "val": "validation images", "evaluated": "evaluated images"}
NO_VERDICT = "No held-out images: generalisation is unknown"
AUDIT_HINT = "mode=audit estimates whether the labels can be learned from these images."

CAPTIONS = {
    "precision_and_recall": "The area below each curve is the AP. A guess that ignores the image stays on the"
    " dashed line. Next to the name: AP | chance.",
    "reliability": "Calibrated probabilities are on the diagonal. Whiskers are 95 % intervals, columns count"
    " entries.",
    "decisions": "Predictions for images with the attribute (upper row) and without it (lower row).",
    "mistakes": "Wrong predictions, ordered by the distance between probability and label. Where the image"
    " agrees with the prediction, the label is probably wrong.",
}


@dataclass(frozen=True)
class RunReport:
    """The content of a report.

    Attributes:
        title: Name of the run.
        metrics: As in metrics.json.
        evaluations: By "test", "val" or "evaluated"; empty where no images were held out.
        parts: Rows of `table` by the names in `evaluations`, and by others.
        pixels: Images uint8 [N, H, W, 3] or their files, by row of `table`; None where there are none.
        config: The resolved configuration, YAML.
        notes: On the data.
        facts: On the run: data, model, date.
        files: The image files, by row of `table`; None where there are none.
    """

    title: str
    metrics: dict
    evaluations: dict[str, Evaluation]
    table: LabelTable
    parts: dict[str, np.ndarray]
    pixels: Sequence[np.ndarray] | Sequence[Path] | None
    config: str
    notes: Notes
    facts: Notes
    files: Sequence[Path] | None


def write_report(path: Path, report: RunReport) -> None:
    """Write the page, and its pictures next to it.

    The pictures show the first of the test, validation and evaluated images. The page includes a loss curve
    that is in the same folder.
    """
    folds = report.metrics.get("folds")
    titles = TITLES | ({"val": "out-of-fold images"} if folds else {})
    order = [name for name in TITLES if name in report.evaluations]
    pictures, mistakes = [], None
    curve = path.parent / CURVE_FILE
    if curve.is_file():
        content = {"heading": "Training loss", "caption": "", "alt": "loss over iterations", "legend": None}
        pictures.append(content | {"images": [describe_image(curve.read_bytes(), 800)], "is_wide": True})
    if order:
        shown = hardest(report.evaluations[order[0]].scores)
        pictures += draw_scores(path.parent, report, order[0], shown, titles[order[0]])
        if report.pixels is not None:
            mistakes = draw_mistakes(path.parent, report, order[0], shown, titles[order[0]])
    page = render(
        "run.html.j2",
        title=report.title,
        verdict=describe_verdict(report, order),
        parts=[describe_scores(titles[name], report.evaluations[name].scores) for name in order],
        folds=describe_folds(report.metrics) if folds else None,
        pictures=pictures,
        mistakes=mistakes,
        notes=report.notes,
        counts=list(zip(report.table.attributes, *report.table.counts(), strict=True)),
        config=report.config,
        facts=report.facts,
    )
    write_text(path, page)


def describe_verdict(report: RunReport, order: list[str]) -> dict:
    """The verdict, and the images it is based on."""
    lines, kind, others = [], "", []
    if not order:
        sentence = NO_VERDICT
        lines.append(
            "The training loss decreases whatever the labels are. data.val_fraction=0.2 holds images out, "
            "data.folds=5 scores every image with a model that was not trained on it, and " + AUDIT_HINT
        )
    else:
        evaluation = report.evaluations[order[0]]
        trained = has_verdict(report.metrics)
        sentence = verdict(evaluation.scores) if trained else f"No verdict: {NO_EPOCH}"
        beaten = [entry["beats_chance"] for entry in evaluation.scores["attributes"].values()]
        kind = "" if not trained else "good" if all(beaten) else "bad" if not any(beaten) else ""
        lines.append(describe_basis(order[0], len(evaluation.probs), report.metrics))
        if not any(beaten):
            lines.append(AUDIT_HINT)
        elif trained:
            others = not_above_chance(evaluation.scores)
    if "chosen_by" in report.metrics:
        lines.append(f"Kept: {report.metrics['chosen_by']}.")
    return {"sentence": sentence[:1].upper() + sentence[1:], "kind": kind, "lines": lines, "others": others}


def describe_basis(name: str, count: int, metrics: dict) -> str:
    """The images that the verdict is based on, and how independent of the model they are."""
    if name == "test":
        return f"Based on {plural(count, 'test image')}, which were not used for training or any choice."
    if name == "evaluated":
        return f"Based on {plural(count, 'labelled image')}."
    is_solved = "penalties" in metrics
    if metrics.get("folds"):
        return (
            f"Based on {plural(count, 'image')}, each scored by a model that was not trained on it"
            + ("" if is_solved else "; only the epoch was chosen on it")
            + ". The final model was trained on all of them."
        )
    basis = f"Based on {plural(count, 'validation image')}"
    if is_solved:
        basis += ", which were not used for training or any choice."
    else:
        basis += (
            ". The epoch was chosen on them, so new images may score slightly lower; data.test_fraction=0.2 "
            "measures this."
        )
    if "refit" in metrics:
        basis += " The kept model was trained on them too, after the model without them was scored."
    return basis


def draw_scores(folder: Path, report: RunReport, name: str, shown: list[int], images: str) -> list[dict]:
    """Write the pictures of the scores into the folder, and return them as data of the page."""
    evaluation, rows = report.evaluations[name], report.parts[name]
    scores, names = evaluation.scores, [report.table.attributes[a] for a in shown]
    arguments = (report.table.labels[rows], report.table.mask[rows], evaluation.probs, scores, shown)
    figures = {
        "Precision and recall": plot_precision_recall(*arguments, f"Precision and recall, {images}"),
        "Reliability": plot_reliability(*arguments, f"Reliability, {images}"),
        "Decisions": plot_decisions(scores, shown, f"Decisions, {images}"),
    }
    pictures = []
    for heading, figure in figures.items():
        stem = heading.lower().replace(" ", "_")
        parts, legend = split_panels(figure, save(figure, folder / f"{stem}.png"))
        pictures.append(
            {
                "heading": heading,
                "caption": CAPTIONS[stem] + describe_selection(shown, report.table),
                "alt": f"{heading} of {listed(names, len(names))}",
                "images": [describe_image(content, width) for content, width in parts],
                "legend": None if legend is None else describe_image(*legend),
                "is_wide": False,
            }
        )
    return pictures


def draw_mistakes(folder: Path, report: RunReport, name: str, shown: list[int], images: str) -> dict:
    """Write the picture of the worst mistakes into the folder, and return them as data of the page."""
    table, evaluation, rows = report.table, report.evaluations[name], report.parts[name]
    predictions = (table.labels[rows], table.mask[rows], evaluation.probs, evaluation.decisions)
    mistakes = worst_mistakes(*predictions, table.attributes, shown, rows)
    thumbnails = load_thumbnails(report.pixels, [row for mistake in mistakes for row in mistake.rows])
    wrong = [mistake for mistake in mistakes if sum(mistake.counts)]
    save(plot_mistakes(wrong, thumbnails, table.names, f"Mistakes, {images}"), folder / "mistakes.png")
    links = None if report.files is None else [relative_link(file, folder) for file in report.files]
    sources = {row: embed(thumbnail) for row, thumbnail in thumbnails.items()}
    return {
        "caption": CAPTIONS["mistakes"] + describe_selection(shown, table),
        "attributes": [describe_mistakes(mistake, sources, table.names, links) for mistake in wrong],
        "without": [mistake.attribute for mistake in mistakes if not sum(mistake.counts)],
    }


def describe_mistakes(
    mistakes: Mistakes, sources: dict[int, str], names: Sequence[str], links: Sequence[str] | None
) -> dict:
    """One attribute's mistakes as data of the page; an image without a source has a gap."""
    headings = ("labelled absent, predicted present", "labelled present, predicted absent")
    listed_mistakes = (mistakes.false_positives, mistakes.false_negatives)
    sides = []
    for heading, entries, total in zip(headings, listed_mistakes, mistakes.counts, strict=True):
        images = [
            {"source": sources.get(row), "prob": prob, "name": names[row], "link": links and links[row]}
            for row, prob in entries
        ]
        shown, more = images[:MOST_SHOWN], images[MOST_SHOWN:]
        sides.append({"heading": heading, "total": total, "images": shown, "more": more})
    return {"name": mistakes.attribute, "sides": sides}


def relative_link(file: Path, folder: Path) -> str:
    """The address of a file relative to a page in a folder."""
    # quoting covers the colon, so that no name begins with the scheme of an address
    return quote(os.path.relpath(file.absolute(), folder.absolute()).replace(os.sep, "/"))


def describe_image(content: bytes, width: int) -> dict:
    """A PNG as data of the page, shown at a width in CSS pixels."""
    return {"source": data_uri(content, "png"), "width": width}


def describe_selection(shown: list[int], table: LabelTable) -> str:
    """A sentence on which attributes are shown; empty where all are."""
    if len(shown) == len(table.attributes):
        return ""
    return (
        f" The {len(shown)} of {len(table.attributes)} attributes with the lowest AUROC are shown; "
        "metrics.json lists all."
    )
