"""The report of a run: one page that opens with how the model stands against guessing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aimonk.data.dataset import ImageSet
from aimonk.data.groups import duplicate_groups
from aimonk.data.labels import LabelTable
from aimonk.evaluation.evaluate import Evaluation, verdict
from aimonk.files.atomic import write_text
from aimonk.files.text import listed
from aimonk.report.html.gallery import draw_mistakes, fetch_thumbnails, show_mistakes, worst_mistakes
from aimonk.report.html.page import details, document, isolated, picture, section, text
from aimonk.report.html.scoreboard import (
    balance_table,
    folds_table,
    full_table,
    optimistic_table,
    score_table,
)
from aimonk.report.plots.loss import save
from aimonk.report.plots.panels import DPI, hardest, plot_decisions, plot_precision_recall, plot_reliability

REPORT_FILE, LOSS_FILE = "report.html", "loss_curve.png"
TITLES = {"test": "test images", "val": "validation images", "evaluated": "evaluated images"}
PAGE_WIDTH = 1040  # pixels of a picture at most
NO_VERDICT = "Nothing is known of how the model does on new images: none were held out"

CAPTIONS = {
    "Precision and recall": "The area below each curve is the AP. A guess that ignores the image stays on the"
    " dashed line. Beside the name: AP | chance.",
    "Reliability": "Where points lie on the diagonal, probabilities mean what they say. Whiskers are 95 %"
    " intervals, columns count entries.",
    "Decisions": "How images with the attribute (upper row) and without it (lower row) were decided.",
    "Mistakes": "Wrong decisions, those first whose probability is farthest from the label. Where the image"
    " sides with the model, it is the label that wants correcting.",
}

Notes = list[tuple[str, str]]  # what, and what is said of it


def write_report(
    path: Path,
    title: str,
    report: dict,
    evaluations: dict[str, Evaluation],
    table: LabelTable,
    parts: dict[str, np.ndarray],
    pixels: Sequence[np.ndarray] | Sequence[Path] | None,
    config_text: str,
    notes: Notes,
) -> None:
    """Write the page, and its pictures beside it.

    The pictures are of the images that say most: the test images where there are any. A loss curve that lies
    in the same folder is shown too.

    Args:
        report: What metrics.json says.
        evaluations: By "test", "val" or "evaluated"; empty where nothing was held out.
        parts: Rows of `table` by the names in `evaluations`, and by others.
        pixels: Images uint8 [N, H, W, 3] or their files, by row of `table`; None where there are none.
        notes: What is said of the data.
    """
    titles = TITLES | ({"val": "images out of fold"} if report.get("folds") else {})
    order = [name for name in TITLES if name in evaluations]
    body = [opening(title, report, evaluations, order)]
    body += [section(f"Scores of the {titles[name]}", *describe(evaluations[name].scores)) for name in order]
    if report.get("folds"):
        body.append(section("Scores of the folds", folds_table(report)))
    curve = path.parent / LOSS_FILE
    if curve.is_file():
        body.append(section("Training loss", picture(curve.read_bytes(), 800, "loss over iterations")))
    if order:
        rows = parts[order[0]]
        body += draw(path.parent, evaluations[order[0]], table, rows, pixels, titles[order[0]])
    body.append(
        section(
            "Data", describe_notes(notes), balance_table(zip(table.attributes, *table.counts(), strict=True))
        )
    )
    body.append(section("Settings", details("config.yaml", f"<pre>{text_lines(config_text)}</pre>")))
    write_text(path, document(title, "\n".join(part for part in body if part)))


def opening(title: str, report: dict, evaluations: dict[str, Evaluation], order: list[str]) -> str:
    """The verdict, and what it rests on."""
    told, kind = [], ""
    if not order:
        sentence = NO_VERDICT
        told.append(
            "The training loss falls whatever the labels say. data.val_fraction=0.2 holds images out, "
            "data.folds=5 scores every image by a model that was not trained on it, and mode=audit tells "
            "whether the labels can be learned from these images at all."
        )
    else:
        scores = evaluations[order[0]].scores
        sentence = verdict(scores)
        beaten = [entry["beats_chance"] for entry in scores["attributes"].values()]
        kind = "good" if all(beaten) else "bad" if not any(beaten) else ""
        told.append(basis(order[0], len(evaluations[order[0]].probs), report))
        if not any(beaten):
            told.append("mode=audit tells whether these labels can be learned from these images at all.")
    if "chosen_by" in report:
        told.append(f"Weights of epoch {report['epoch']}: {report['chosen_by']}.")
    lines = "".join(f'<p class="soft">{text(line)}</p>' for line in told)
    sentence = sentence[:1].upper() + sentence[1:]
    lines += f'<p class="soft">Run: {isolated(title)}</p>'
    return f'<header class="verdict {kind}"><h1>{text(sentence)}.</h1>{lines}</header>'


def basis(name: str, count: int, report: dict) -> str:
    """On which images the verdict rests, and how far these are new to the model."""
    if name == "test":
        return f"By {count:,} test images, on which nothing was trained or chosen."
    if name == "evaluated":
        return f"By {count:,} labelled images."
    if report.get("folds"):
        return (
            f"By {count:,} images, each scored by a model of which only the epoch was chosen on it. "
            "The model that is kept was trained on all of them."
        )
    return (
        f"By {count:,} validation images. The epoch was chosen on them, so new images may do slightly worse; "
        "data.test_fraction=0.2 would tell."
    )


def describe(scores: dict) -> list[str]:
    """The tables of one part, and what has to be known to read them."""
    told = [score_table(scores)]
    if scores.get("unreached"):
        names = ", ".join(isolated(name) for name in scores["unreached"])
        told.append(
            f"<p><b>No threshold reaches the precision asked for</b>; the nearest is taken: {names}.</p>"
        )
    if any(value is not None for value in scores.get("optimistic", {}).values()):
        told.append(optimistic_table(scores))
    return [*told, full_table(scores)]


def draw(
    folder: Path,
    evaluation: Evaluation,
    table: LabelTable,
    rows: np.ndarray,
    pixels: Sequence[np.ndarray] | Sequence[Path] | None,
    what: str,
) -> list[str]:
    """Draw the pictures into the folder; they as sections of the page."""
    labels, mask, scores = table.labels[rows], table.mask[rows], evaluation.scores
    shown = hardest(scores)
    names = [table.attributes[a] for a in shown]
    rest = ""
    if len(names) < len(table.attributes):
        most = f"the {len(names)} of {len(table.attributes)} attributes with the lowest AUROC"
        rest = f" Shown are {most}; metrics.json has all."
    arguments = (labels, mask, evaluation.probs, scores, shown)
    figures = {
        "Precision and recall": plot_precision_recall(*arguments, f"Precision and recall, {what}"),
        "Reliability": plot_reliability(*arguments, f"Reliability, {what}"),
        "Decisions": plot_decisions(scores, shown, f"Decisions, {what}"),
    }
    sections = []
    for heading, figure in figures.items():
        width = min(PAGE_WIDTH, round(figure.get_figwidth() * DPI / 1.25))
        png = save(figure, folder / f"{heading.lower().replace(' ', '_')}.png")
        image = picture(png, width, f"{heading} of {listed(names, len(names))}")
        sections.append(section(heading, f'<p class="soft">{CAPTIONS[heading]}{rest}</p>', image))
    if pixels is not None:
        said = (labels, mask, evaluation.probs, evaluation.decisions)
        mistakes = worst_mistakes(*said, table.attributes, shown, rows)
        thumbs = fetch_thumbnails(pixels, mistakes)
        wrong = [mistake for mistake in mistakes if sum(mistake.counts)]
        save(draw_mistakes(wrong, thumbs, table.names, f"Mistakes, {what}"), folder / "mistakes.png")
        shown_here = show_mistakes(mistakes, thumbs, table.names)
        sections.append(section("Mistakes", f'<p class="soft">{CAPTIONS["Mistakes"]}{rest}</p>', shown_here))
    return sections


def data_notes(images: ImageSet, groups: np.ndarray | None, parts: dict[str, np.ndarray]) -> Notes:
    """What is said of the data: its parts, and what is wrong with it.

    Args:
        groups: Images with the same number show the same photograph, [N]; None where nobody looked.
    """
    sizes = [f"{len(rows):,} {name}" for name, rows in parts.items() if len(rows)]
    unreadable = [f"{name} ({why})" for name, why in images.unreadable.items()]
    notes = [("images", f"{len(images):,}: {', '.join(sizes)}")]
    for what, names in (
        ("rows without an image", images.missing),
        ("unreadable images", unreadable),
        ("images without a row", images.unlisted),
    ):
        notes.append((what, f"{len(names):,}: {listed(names)}" if names else "none"))
    if groups is None:
        return [*notes, ("duplicates", "not looked for")]
    same = [" = ".join(group) for group in duplicate_groups(groups, images.table.names)]
    told = f"{len(same):,} photographs, each kept on one side: {listed(same)}" if same else "none"
    return [*notes, ("duplicates", told)]


def describe_notes(notes: Notes) -> str:
    """The notes as a list of the page."""
    items = "".join(f"<dt>{text(what)}</dt><dd>{isolated(told)}</dd>" for what, told in notes)
    return f"<dl>{items}</dl>" if items else ""


def text_lines(content: str) -> str:
    """A text of several lines, escaped."""
    return "\n".join(text(line) for line in content.splitlines())
