"""The model files of a run: the kept weights, those that were scored, and those of the last epoch."""

from pathlib import Path

from aimonk.evaluation.evaluate import Evaluation, OperatingPoint
from aimonk.files.run_folder import LAST_FILE
from aimonk.models.checkpoint import ModelInfo, save_model
from aimonk.modes.train.context import RunContext
from aimonk.modes.train.one_model import TrainedModel, Weights
from aimonk.report.tables import has_verdict


def write_model(
    run: RunContext,
    file: str,
    model: TrainedModel,
    operating_point: OperatingPoint,
    evaluations: dict[str, Evaluation],
) -> None:
    """Write the selected weights, with the verdicts on them."""
    scored = evaluations.get("test", evaluations.get("val"))
    verdicts = [None] * len(run.images.table.attributes)
    if scored is not None and has_verdict(model.report):
        verdicts = [entry["beats_chance"] for entry in scored.scores["attributes"].values()]
    epoch, why = model.report["epoch"], model.report["chosen_by"]
    info = describe_model(run, operating_point, epoch, why, verdicts)
    write_weights(run.out_dir / file, info, model, model.selected)


def write_last(run: RunContext, model: TrainedModel, operating_point: OperatingPoint) -> None:
    """Write the weights of the last epoch; a solved head has no epochs."""
    if model.solved is not None:
        return
    epochs, verdicts = model.report["epochs"], [None] * len(run.images.table.attributes)
    last_epoch = epochs[-1]["epoch"] if epochs else 1
    info = describe_model(run, operating_point, last_epoch, "the last epoch", verdicts)
    write_weights(run.out_dir / LAST_FILE, info, model, model.last)


def describe_model(
    run: RunContext, operating_point: OperatingPoint, epoch: int, why: str, verdicts: list[bool | None]
) -> ModelInfo:
    """Everything that inference needs besides the weights."""
    return ModelInfo(
        library=run.cfg.backbone.library,
        backbone=run.cfg.backbone.name,
        attributes=run.images.table.attributes,
        thresholds=operating_point.thresholds.tolist(),
        scale=operating_point.calibration.scale.tolist(),
        bias=operating_point.calibration.bias.tolist(),
        image_size=run.cfg.data.image_size,
        resize=run.cfg.data.resize,
        epoch=epoch,
        chosen_by=why,
        beats_chance=verdicts,
    )


def write_weights(path: Path, info: ModelInfo, model: TrainedModel, trained: Weights) -> None:
    """Write a checkpoint with `trained` in place of the weights that train."""
    weights = {k: v.detach().cpu().contiguous() for k, v in {**model.weights, **trained}.items()}
    save_model(path, info, weights)
