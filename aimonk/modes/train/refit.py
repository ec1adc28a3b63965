"""A model that is scored on held-out images, and then fitted to training and validation images together."""

import logging
from dataclasses import dataclass, replace

import numpy as np

from aimonk.evaluation.evaluate import Evaluation, OperatingPoint
from aimonk.files.atomic import write_text
from aimonk.files.run_folder import MODEL_FILE, REFIT_FOLDER, SCORED_FILE, SPLITS_FILE
from aimonk.files.text import plural
from aimonk.modes.train.checkpoints import write_last, write_model
from aimonk.modes.train.context import Parts, RunContext
from aimonk.modes.train.one_model import TrainedModel, train_model
from aimonk.modes.train.scoring import choose_thresholds, evaluate_parts
from aimonk.report.csv_tables import format_splits
from aimonk.runtime import distributed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The kept model, and the scores of a run.

    Attributes:
        evaluations: Of the validation images by the model that was not trained on them, and of the test
            images by the kept model.
        parts: Rows behind `evaluations`.
    """

    model: TrainedModel
    operating_point: OperatingPoint
    evaluations: dict[str, Evaluation]
    parts: Parts


def train_and_evaluate(run: RunContext, parts: Parts) -> Outcome:
    """Train a model, choose its thresholds, score it, and write it."""
    model = train_model(run, parts)
    operating_point = choose_thresholds(run, model)
    evaluations = evaluate_parts(run, model, operating_point, model.logits)
    write_model(run, MODEL_FILE, model, operating_point, evaluations)
    write_last(run, model, operating_point)
    return Outcome(model, operating_point, evaluations, {name: model.parts[name] for name in evaluations})


def train_and_refit(run: RunContext, parts: Parts) -> Outcome:
    """As `train_and_evaluate`; the kept model is then fitted to training and validation images together.

    The settings are those of the scored model: for gradient descent, the number of epochs that was selected.
    Not where no images validate, the config forbids it, or the run is interrupted.
    """
    write_splits(run, parts)
    if not (run.cfg.refit and len(parts["val"])):
        return train_and_evaluate(run, parts)
    nothing = parts["test"][:0]
    scored = train_and_evaluate(run, parts | {"test": nothing})
    if distributed.any_rank(run.stop()):
        return scored
    rows = np.sort(np.concatenate([parts["train"], parts["val"]]))
    log.info("refitting on training and validation images together")
    together = parts | {"train": rows, "val": nothing}
    model = train_model(run.in_folder(REFIT_FOLDER), together, like=scored.model)
    if distributed.any_rank(run.stop()):
        return scored
    return keep_refitted(run, scored, model)


def write_splits(run: RunContext, parts: Parts) -> None:
    """Write the part of each image."""
    write_text(run.out_dir / SPLITS_FILE, format_splits(run.images.table.names, parts))


def keep_refitted(run: RunContext, scored: Outcome, model: TrainedModel) -> Outcome:
    """Score the test images by the refitted model, and write it in place of the scored one."""
    # without out-of-fold predictions of its own, it takes the thresholds of the scored model
    operating_point = scored.operating_point if model.solved is None else choose_thresholds(run, model)
    tested = evaluate_parts(run, model, operating_point, model.logits)
    trained = plural(len(model.parts["train"]), "training and validation image")
    why = f"{scored.model.report['chosen_by']}, refitted on {trained}"
    refit = {key: model.report[key] for key in ("iterations", "penalties") if key in model.report}
    report = scored.model.report | {"chosen_by": why, "refit": refit | {"images": len(model.parts["train"])}}
    model = replace(model, report=report, parts=scored.model.parts | {"test": model.parts["test"]})
    evaluations = scored.evaluations | tested
    write_model(run, SCORED_FILE, scored.model, scored.operating_point, scored.evaluations)
    write_model(run, MODEL_FILE, model, operating_point, evaluations)
    return Outcome(model, operating_point, evaluations, scored.parts | {k: model.parts[k] for k in tested})
