"""Settings of the command line that have no effect in a run, which one warning names."""

import logging
from collections.abc import Iterable, Iterator, Sequence

from omegaconf import DictConfig

log = logging.getLogger(__name__)

# settings of gradient descent
DESCENT = (
    *("epochs", "batch_size", "accumulate", "clip_norm", "monitor", "patience", "min_delta", "ema"),
    "label_smoothing",
    *("scheduler", "sampler", "compile", "checkpoint_every"),
)
SOLVER = ("optimizer.penalty", "optimizer.folds")
HELD_OUT = ("data.val_fraction", "data.test_fraction", "data.splits", "data.folds", "data.repeats")
# settings of images, which predictions from a table do not need
IMAGES = (
    "data.missing",
    "data.unreadable",
    "data.follow_links",
    "data.store",
    "data.store_limit_gb",
    "data.store_quality",
    "data.duplicate_distance",
)
OF_SHARDS = ("data.unreadable",)  # of these, needed for labels in shards
# keys and groups that a mode uses, with all keys below them, and exceptions
USED = {
    "audit": (("top", "data", "backbone", "features", "device", "cache_dir", "seed"), HELD_OUT),
    "evaluate": (
        ("checkpoint", "predictions", "batch_size", "threshold", "data", "device", "cache_dir"),
        (*HELD_OUT, "data.image_size", "data.resize"),
    ),
    "review": (
        (
            *("checkpoint", "port", "browser", "save_after"),
            *("data", "backbone", "features", "device", "cache_dir"),
        ),
        HELD_OUT,
    ),
    "import": (("output", "to", "data", "cache_dir"), (*HELD_OUT, *IMAGES, "data.image_size", "data.resize")),
    "clean": (("delete", "cache_dir"), ()),
    "compare": (("runs", "by"), ()),
    "export": (
        ("checkpoint", "output", "precision", "image", "data", "cache_dir"),
        (*HELD_OUT, "data.image_size", "data.resize"),
    ),
}


def given_keys(overrides: Sequence[str]) -> list[str]:
    """Names of the settings and groups of a job's command line."""
    return [override.split("=", 1)[0].lstrip("+~") for override in overrides]


def warn_without_effect(given: Iterable[str], unused: Iterable[tuple[Sequence[str], str]]) -> None:
    """Warn of given settings that are unused.

    Args:
        unused: Settings, and the reason why these have no effect.
    """
    reasons = {key: reason for keys, reason in unused for key in keys}
    named = [f"{key} ({reasons[key]})" for key in dict.fromkeys(given) if key in reasons]
    if named:
        log.warning("without effect: %s", ", ".join(named))


def unused_in_mode(cfg: DictConfig, given: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    """Given settings that the mode does not use, if it is not training."""
    yield from _unused_of_shards(cfg)
    yield from _unused_of_formats(cfg, given)
    if not cfg.data.store:
        yield ("data.store_limit_gb", "data.store_quality"), "data.store is false"
    if cfg.mode not in USED:
        return
    used, exceptions = USED[cfg.mode]
    if "shards" in cfg.data:
        exceptions = tuple(key for key in exceptions if key not in OF_SHARDS)
    others = [key for key in given if key in exceptions or not _covers((*used, "mode", "title"), key)]
    yield others, f"mode={cfg.mode} does not use it"
    if cfg.mode == "evaluate" and cfg.predictions is not None:
        yield ("batch_size", "device", *IMAGES), "predictions= needs no model and no images"


def _unused_of_shards(cfg: DictConfig) -> Iterator[tuple[Sequence[str], str]]:
    if "shards" not in cfg.data:
        return
    images = () if cfg.data.images is None else ("data.images",)
    yield (*images, "data.follow_links"), "data.shards has the images"
    if cfg.data.labels is not None:
        yield ("data.label_key", "data.blank"), "data.labels has the labels"
    if cfg.mode != "train":
        yield ("data.window",), "there are no epochs"


def _unused_of_formats(cfg: DictConfig, given: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    if "list_column" in cfg.data and cfg.data.list_column is None:
        yield ("data.blank", "data.list_separator", "data.class_names"), "data.list_column is null"
    if "tokens" not in cfg.data.reader:
        tokens = [key for key in given if key.startswith("data.tokens")]
        yield tokens, "the format states its values"


def _covers(used: Sequence[str], key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in used)


def unused_in_training(
    cfg: DictConfig,
    given: Sequence[str],
    assigned: str,
    has_val: bool,
    cuda: bool,
    views: int | None,
    frozen: bool,
    solver: bool,
) -> Iterator[tuple[Sequence[str], str]]:
    """Settings that others make useless.

    Args:
        assigned: What assigns the images to train, val and test; empty if the fractions do.
        has_val: Whether images are held out, by folds or otherwise.
        views: Number of views of the augmentation before `features.views`; None if unbounded.
        frozen: Whether a stage is frozen in some epoch.
        solver: Whether the head is solved, not trained by gradient descent.
    """
    if solver:
        others = [key for key in given if key.startswith("optimizer.") and key not in SOLVER]
        descent = [key for key in given if _covers(DESCENT, key)]
        yield (*others, *descent), "the head is solved exactly; optimizer=adamw uses it"
    else:
        yield SOLVER, "gradient descent trains; optimizer=lbfgs uses it"
    if not has_val or cfg.data.folds:
        yield ("refit",), "the model is trained on all images"
    if cfg.data.folds:
        yield ("data.val_fraction",), "data.folds holds images out instead"
    if assigned:
        yield ("data.val_fraction", "data.test_fraction"), f"{assigned} assigns the images"
    if assigned and not cfg.data.folds:
        yield ("data.split_seed",), f"{assigned} assigns the images"
    if not has_val:
        yield ("patience", "min_delta", "monitor"), "no images are held out"
    elif cfg.patience is None:
        yield ("min_delta",), "patience is null"
    if cfg.resume is None:
        yield ("resume_force",), "resume is null"
    if not cuda:
        yield ("amp", "sync_batchnorm"), "the run is not on CUDA"
        yield ("deterministic",), "on the CPU, runs are always reproducible"
    if views is not None:
        yield ("features.views",), "the augmentation has few views already"
    if not frozen or cfg.features.enabled is False:
        reason = "nothing is frozen" if not frozen else "features.enabled is false"
        yield ("features.views", "features.dtype", "features.limit_gb"), reason
