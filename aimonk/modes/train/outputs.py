"""What a training run ends with: scores, predictions, the report, and a sentence on chance."""

import logging
from pathlib import Path

import numpy as np

from aimonk.data.dataset import ImageSet
from aimonk.evaluation.evaluate import Evaluation, verdict
from aimonk.files.atomic import write_json, write_text
from aimonk.files.run_folder import REPORT_FILE
from aimonk.modes.train.one_model import Parts
from aimonk.report.csv_tables import format_predictions
from aimonk.report.data_notes import Notes, data_notes
from aimonk.report.html.run import RunReport, write_report
from aimonk.report.tables import format_scores

log = logging.getLogger(__name__)


def write_results(
    out_dir: Path,
    images: ImageSet,
    groups: np.ndarray | None,
    parts: Parts,
    held_out: Parts,
    evaluations: dict[str, Evaluation],
    report: dict,
) -> None:
    """Write the scores, the predictions and the report.

    Args:
        parts: What the model that is kept was trained on and chosen by.
        held_out: The rows that `evaluations` is about.
    """
    report = report | {name: evaluation.scores for name, evaluation in evaluations.items()}
    write_json(out_dir / "metrics.json", report)
    write_text(out_dir / "predictions.csv", format_predictions(images.table, held_out, evaluations))
    conclude({name: evaluation.scores for name, evaluation in evaluations.items()})
    config = (out_dir / "config.yaml").read_text(encoding="utf-8")
    notes = data_notes(images, groups, parts) + run_notes(report)
    content = RunReport(
        title=out_dir.name,
        metrics=report,
        evaluations=evaluations,
        table=images.table,
        parts=held_out,
        pixels=images.pixels,
        config=config,
        notes=notes,
    )
    write_report(out_dir / REPORT_FILE, content)


def run_notes(report: dict) -> Notes:
    """What the report says of how the run was computed."""
    names = report.get("not_deterministic", [])
    return [("not deterministic", ", ".join(names))] if names else []


def conclude(scores: dict[str, dict]) -> None:
    """Log the scores, and in one sentence how the model stands against chance."""
    for name, title in (("val", "validation images"), ("test", "test images")):
        if name in scores:
            log.info("\n%s\n", format_scores(scores[name], title))
    last = scores.get("test", scores.get("val"))
    if last is None:
        log.info(
            "nothing was held out, so nothing is known of how the model does on new images: "
            "data.val_fraction=0.2 would tell, and mode=audit whether the labels can be learned at all"
        )
        return
    log.info("verdict: %s", verdict(last))
    if not last["beats_chance"]:
        log.warning(
            "the scores do not beat chance: mode=audit tells whether these labels can be learned at all"
        )
