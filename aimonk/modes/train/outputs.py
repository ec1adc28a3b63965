"""The results of a training run: scores, predictions and the report."""

import logging
import shlex
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig

from aimonk.data.dataset import ImageSet
from aimonk.evaluation.evaluate import Evaluation
from aimonk.files.atomic import write_json, write_text
from aimonk.files.run_folder import CONFIG_FILE, METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE
from aimonk.files.text import plural
from aimonk.modes.train.context import Parts, RunContext
from aimonk.report.csv_tables import format_predictions
from aimonk.report.data_notes import Notes, data_notes
from aimonk.report.html.run import RunReport, write_report
from aimonk.report.tables import NO_EPOCH, describe_verdict, format_scores, has_verdict

log = logging.getLogger(__name__)


def write_results(
    run: RunContext, parts: Parts, held_out: Parts, evaluations: dict[str, Evaluation], report: dict
) -> None:
    """Write the scores, the predictions and the report.

    Args:
        parts: Rows that the kept model was trained on and selected by.
        held_out: Rows behind `evaluations`.
    """
    scores = {name: evaluation.scores for name, evaluation in evaluations.items()}
    report, table = report | scores, run.images.table
    write_json(run.out_dir / METRICS_FILE, report)
    write_text(run.out_dir / PREDICTIONS_FILE, format_predictions(table, held_out, evaluations))
    log_scores(scores, report)
    log.info("kept: epoch %d, %s", report["epoch"], report["chosen_by"])
    content = RunReport(
        title=run.out_dir.name,
        metrics=report,
        evaluations=evaluations,
        table=table,
        parts=held_out,
        pixels=run.images.pixels,
        config=(run.out_dir / CONFIG_FILE).read_text(encoding="utf-8"),
        facts=run_facts(run.cfg, run.images),
        files=run.images.paths,
        notes=data_notes(run.images, run.groups, parts) + run_notes(report),
    )
    write_report(run.out_dir / REPORT_FILE, content)


def run_facts(cfg: DictConfig, images: ImageSet) -> Notes:
    """What the run was trained on, and how."""
    loss, freeze = (cfg[group]._target_ for group in ("loss", "freeze"))
    loss = next(part for part in loss.split(".") if part.endswith("Loss"))
    how = f"{cfg.backbone.name}, {loss}, freeze {freeze.rpartition('.')[2]}, {plural(cfg.epochs, 'epoch')}"
    return [
        ("data", f"{cfg.data.labels or 'the demo'}, {plural(len(images), 'image')}"),
        ("model", how),
        ("date", f"{datetime.now():%Y-%m-%d %H:%M}"),
    ]


def run_notes(report: dict) -> Notes:
    """Notes of the report on how the run was computed."""
    names = report.get("not_deterministic", [])
    return [("not deterministic", ", ".join(names))] if names else []


def log_scores(scores: dict[str, dict], report: dict) -> None:
    """Log the scores, and whether they are better than chance."""
    for name, title in (("val", "validation images"), ("test", "test images")):
        if name in scores:
            log.info("\n%s\n", format_scores(scores[name], title))
    last = scores.get("test", scores.get("val"))
    if last is None:
        log.info(
            "no held-out images: generalisation is unknown; data.val_fraction=0.2 holds images out, and "
            "mode=audit tests whether the labels can be learned"
        )
        return
    if not has_verdict(report):
        log.info("no verdict: %s", NO_EPOCH)
        return
    log.info("verdict: %s", describe_verdict(last))
    if not last["beats_chance"]:
        log.warning(
            "the scores are not better than chance: mode=audit tests whether these labels can be learned"
        )


def log_next_steps(out_dir: Path) -> None:
    """Log the report and the command that applies the model."""
    log.info("report: %s", out_dir / REPORT_FILE)
    log.info("python run.py mode=infer checkpoint=%s image=FILE applies the model", shlex.quote(f"{out_dir}"))
