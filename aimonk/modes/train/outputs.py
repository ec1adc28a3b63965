"""The results of a training run: scores, predictions and the report."""

import logging
import shlex
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig

from aimonk.auditing.suspects import suspects
from aimonk.data.dataset import ImageSet
from aimonk.evaluation.calibration import sigmoid
from aimonk.evaluation.label_noise import limit_of_scores
from aimonk.files.atomic import write_json, write_text
from aimonk.files.run_folder import CONFIG_FILE, METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE, SUSPECTS_FILE
from aimonk.files.text import listed, plural
from aimonk.modes.train.context import RunContext
from aimonk.modes.train.one_model import TrainedModel
from aimonk.modes.train.refit import Outcome
from aimonk.modes.train.scoring import out_of_fold
from aimonk.report.csv_tables import format_predictions, format_suspects
from aimonk.report.data_notes import Notes, data_notes
from aimonk.report.html.run import RunReport, write_report
from aimonk.report.tables import NO_EPOCH, describe_verdict, format_scores, has_verdict, shorten
from aimonk.setup.data import describe_data

log = logging.getLogger(__name__)

FEW_POSITIVES = 20  # known positives of the validation images below which scores are uncertain


def write_results(run: RunContext, outcome: Outcome) -> None:
    """Write the scores, the predictions, the suspects and the report."""
    table, evaluations = run.images.table, outcome.evaluations
    scores = {name: evaluation.scores for name, evaluation in evaluations.items()}
    report = outcome.model.report | scores
    annotations, data = run.images.file_table.annotations, run.cfg.data
    agreement, limit = limit_of_scores(annotations, table.attributes, data.repeated, data.split_seed)
    if agreement:
        report["agreement"] = agreement
    write_json(run.out_dir / METRICS_FILE, report)
    write_text(run.out_dir / PREDICTIONS_FILE, format_predictions(table, outcome.parts, evaluations))
    log_scores(scores, report)
    write_suspects(run, outcome)
    if limit:
        log.info("%s", limit)
    uncertain = few_positives(scores.get("val"), report)
    if uncertain:
        log.info("%s", uncertain)
    log.info("kept: %s", report["chosen_by"])
    content = RunReport(
        title=run.out_dir.name,
        metrics=report,
        evaluations=evaluations,
        table=table,
        parts=outcome.parts,
        pixels=run.images.pixels,
        config=(run.out_dir / CONFIG_FILE).read_text(encoding="utf-8"),
        facts=run_facts(run.cfg, run.images, outcome.model),
        files=run.images.files,
        notes=data_notes(run.images, run.groups, outcome.model.parts) + run_notes(report, uncertain, limit),
    )
    write_report(run.out_dir / REPORT_FILE, content)


def few_positives(val: dict | None, report: dict) -> str:
    """A sentence on attributes with few known positives among the validation images; empty if none has.

    Args:
        val: Scores of the validation images.
    """
    if val is None or "folds" in report:
        return ""
    few = {name: entry["positives"] for name, entry in val["attributes"].items()}
    few = [f"{shorten(name)} ({count})" for name, count in few.items() if count < FEW_POSITIVES]
    if not few:
        return ""
    return (
        f"fewer than {FEW_POSITIVES} known positives among the validation images: {listed(few)}; their "
        "scores are uncertain, and data.folds=5 scores every image"
    )


def write_suspects(run: RunContext, outcome: Outcome) -> None:
    """Write training labels that are probably wrong by out-of-fold predictions, if there are any.

    Of attributes that held-out images show to be predicted better than chance; without such images, of none.
    """
    solved, evaluations = outcome.model.solved, outcome.evaluations
    if solved is None or not evaluations:
        return
    scored = evaluations.get("test", evaluations.get("val")).scores["attributes"]
    data = out_of_fold(run, solved)
    evidence = [entry["beats_chance"] for entry in scored.values()]
    found = suspects(sigmoid(data.logits), data.table.labels, data.table.mask, evidence)
    if found:
        write_text(run.out_dir / SUSPECTS_FILE, format_suspects(data.table, found))
        log.info("%s: %s", SUSPECTS_FILE, plural(len(found), "probably wrong label"))


def run_facts(cfg: DictConfig, images: ImageSet, model: TrainedModel) -> Notes:
    """What the run was trained on, and how."""
    loss, freeze = (cfg[group]._target_ for group in ("loss", "freeze"))
    loss = next(part for part in loss.split(".") if part.endswith("Loss"))
    length = plural(cfg.epochs, "epoch") if model.solved is None else "head solved exactly"
    how = f"{cfg.backbone.name}, {loss}, freeze {freeze.rpartition('.')[2]}, {length}"
    return [
        ("data", f"{describe_data(cfg)}, {plural(len(images), 'image')}"),
        ("model", how),
        ("date", f"{datetime.now():%Y-%m-%d %H:%M}"),
    ]


def run_notes(report: dict, uncertain: str, limit: str) -> Notes:
    """Notes of the report on how the run was computed, and what limits its scores."""
    names = report.get("not_deterministic", [])
    notes = [("few positives", uncertain)] if uncertain else []
    notes += [("disagreement", limit)] if limit else []
    return [*notes, ("not deterministic", ", ".join(names))] if names else notes


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
