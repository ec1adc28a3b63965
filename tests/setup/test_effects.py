"""Settings without effect are named, and only those."""

import logging

import pytest
from omegaconf import OmegaConf

from aimonk.setup.effects import given_keys, unused_in_mode, unused_in_training, warn_without_effect

PLAIN = {
    **{"given": [], "assigned": "", "has_val": True, "cuda": True, "views": None, "frozen": True},
    "solver": False,
}


def config(**values):
    data = {"folds": None, "store": True, "reader": {"tokens": {}}}
    cfg = {"data": data, "patience": 3, "resume": None, "features": {"enabled": "auto"}, "mode": "train"}
    return OmegaConf.merge(
        OmegaConf.create(cfg), OmegaConf.from_dotlist([f"{k}={v}" for k, v in values.items()])
    )


def unused(facts: dict, **values) -> set[str]:
    return {key for keys, _ in unused_in_training(config(**values), **{**PLAIN, **facts}) for key in keys}


def test_given_keys_have_no_signs() -> None:
    assert given_keys(["+a=1", "++b.c=x=y", "~d", "loss=focal"]) == ["a", "b.c", "d", "loss"]


@pytest.mark.parametrize(
    ("facts", "values", "expected"),
    [
        ({}, {}, {"resume_force"}),
        ({}, {"data.folds": 3}, {"data.val_fraction", "refit"}),
        ({"assigned": "a.csv"}, {}, {"data.val_fraction", "data.test_fraction", "data.split_seed"}),
        ({"assigned": "a.csv"}, {"data.folds": 3}, {"data.val_fraction", "data.test_fraction", "refit"}),
        ({"has_val": False}, {}, {"patience", "min_delta", "monitor", "refit"}),
        ({}, {"patience": "null"}, {"min_delta"}),
        ({"cuda": False}, {}, {"amp", "sync_batchnorm", "deterministic"}),
        ({"views": 2}, {}, {"features.views"}),
        ({"frozen": False}, {}, {"features.views", "features.dtype", "features.limit_gb"}),
        ({}, {"features.enabled": "false"}, {"features.views", "features.dtype", "features.limit_gb"}),
    ],
)
def test_each_cause_has_its_settings(facts: dict, values: dict, expected: set[str]) -> None:
    always = {"resume_force", "optimizer.penalty", "optimizer.folds"}
    assert unused(facts, **values) | always == expected | always


@pytest.mark.parametrize(
    ("data", "given", "expected"),
    [
        ({}, ["data.tokens.absent", "data.store_quality"], set()),
        ({"store": False}, ["data.store_quality"], {"data.store_quality"}),
        ({"reader": {"blank": None}}, ["data.tokens.absent"], {"data.tokens.absent"}),
        ({"list_column": None}, ["data.blank"], {"data.blank"}),
        ({"list_column": "tags"}, ["data.blank"], set()),
    ],
)
def test_settings_of_formats_and_stores(data: dict, given: list[str], expected: set[str]) -> None:
    cfg = config()
    cfg.data = dict(cfg.data) | data
    found = {key for keys, _ in unused_in_mode(cfg, given) for key in keys}
    assert found & set(given) == expected


def test_solver_ignores_settings_of_gradient_descent() -> None:
    given = [
        "epochs",
        "scheduler",
        "scheduler.warmup",
        "optimizer",
        "optimizer.lr",
        "optimizer.folds",
        "loss",
    ]
    facts = {"solver": True, "given": given}
    assert unused(facts) - {"resume_force"} == {"epochs", "scheduler", "scheduler.warmup", "optimizer.lr"}


def test_modes_name_settings_of_training() -> None:
    given = [
        "mode",
        "data",
        "data.images",
        "data.val_fraction",
        "epochs",
        "loss",
        "loss.gamma",
        "backbone.name",
    ]
    for mode, expected in (
        ("audit", ["data.val_fraction", "epochs", "loss", "loss.gamma"]),
        ("evaluate", ["data.val_fraction", "epochs", "loss", "loss.gamma", "backbone.name"]),
        ("train", []),
    ):
        cfg = config(mode=mode, predictions="null")
        assert [key for keys, _ in unused_in_mode(cfg, given) for key in keys] == expected
    table = config(mode="evaluate", predictions="p.csv")
    unused = {key for keys, _ in unused_in_mode(table, ["data.resize", "data.labels"]) for key in keys}
    assert {"data.resize", "data.store", "batch_size"} < unused and "data.labels" not in unused


def test_one_warning_names_the_given_ones(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_without_effect(["epochs", "amp", "amp"], [(("amp", "patience"), "no CUDA"), (("x",), "y")])
        warn_without_effect(["epochs"], [(("amp",), "no CUDA")])
    assert caplog.messages == ["without effect: amp (no CUDA)"]


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (["data.folds=2", "data.val_fraction=.3"], "data.val_fraction (data.folds holds images out instead)"),
        (["mode=audit", "epochs=3"], "epochs (mode=audit does not use it)"),
        (
            ["optimizer=auto", "batch_size=8"],
            "batch_size (the head is solved exactly; optimizer=adamw uses it)",
        ),
    ],
)
def test_commands_warn(arguments: list[str], warning: str, command, demo, tmp_path) -> None:
    result = command(tmp_path, *demo, *arguments)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("without effect")]
    assert len(lines) == 1 and warning in lines[0]
