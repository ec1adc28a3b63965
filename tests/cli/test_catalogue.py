"""The settings of conf/: read with their comments, and unknown ones refused."""

import re

import pytest
from omegaconf import OmegaConf

from aimonk.cli.catalogue import CONF, check_keys, describe_unknown, describe_unknown_option, read_catalogue
from aimonk.cli.help import format_help
from aimonk.setup.flatten import flatten

CHOICES = {"loss": "masked", "mode": "train", "experiment": None, "hydra/launcher": "basic"}


@pytest.mark.parametrize("option", read_catalogue(), ids=str)
def test_catalogue_has_every_key_of_a_file(option) -> None:
    path = CONF / option.group / f"{option.name}.yaml" if option.group else CONF / "config.yaml"
    content = OmegaConf.load(path)
    own = OmegaConf.masked_copy(content, [k for k in content if k not in ("defaults", "hydra")])
    keys = dict(flatten(OmegaConf.to_container(own)))
    package = path.read_text().partition("# @package ")[2].partition("\n")[0] or option.group
    prefix = "" if package in ("_global_", "") else f"{package}."
    assert [setting.key for setting in option.settings] == [prefix + key for key in keys]
    assert option.comment


def test_comment_of_several_lines() -> None:
    comments = {s.key: s.comment for s in read_catalogue()[0].settings}
    assert comments["threshold"].startswith("probability from which")
    assert comments["threshold"].endswith("precision=0.9")


@pytest.mark.parametrize(
    "overrides",
    [[], ["loss=focal"], ["data=folder"], ["mode=infer", "image=x"], ["tracker=[tensorboard,mlflow]"]],
)
def test_composed_configs_are_accepted(overrides: list[str], compose_config) -> None:
    cfg = compose_config(*overrides)
    own = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    check_keys(dict(flatten(OmegaConf.to_container(own))), cfg.hydra.runtime.choices)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+los=focal", r"los is unknown; did you mean loss\?"),
        ("+optimizer.lrate=1", r"optimizer.lrate is unknown; did you mean optimizer.lr\?"),
        ("+data.val_frac=.1", r"data.val_frac is unknown; did you mean data.val_fraction\?"),
        ("+loss.gamma=1", "loss.gamma is a setting of loss=focal only"),
        (
            "+checkpoint=x",
            "checkpoint is a setting of mode=evaluate and mode=export and mode=infer and mode=review only",
        ),
        ("~data.store", "data.store is missing"),
        ("tracker=[mlflow,wand]", r"tracker is 'wand'; expected mlflow, none, .*; did you mean wandb\?"),
        ("~loss", "loss is missing; expected one of its options: asymmetric, focal, masked, pos_weight"),
    ],
)
def test_unknown_and_missing_keys_are_refused(override: str, message: str, command, tmp_path) -> None:
    result = command(tmp_path, override, "epochs=1")
    output = result.stdout + result.stderr
    assert result.returncode == 1 and len(output.splitlines()) == 1
    assert re.match(message, output)


def test_names_that_were_probably_meant() -> None:
    assert describe_unknown("gamma") == "gamma is unknown; did you mean loss.gamma?"
    assert describe_unknown("xyzzy") == "xyzzy is unknown; --help lists all settings"
    options = ["focal", "masked"]
    assert describe_unknown_option("loss", "focl", options) == (
        "loss is 'focl'; expected focal, masked; did you mean focal?"
    )


def test_help_has_every_group_option_and_setting(command, tmp_path) -> None:
    result = command(tmp_path, "--help")
    assert result.returncode == 0 and len(result.stdout.splitlines()) < 80
    for option in read_catalogue():
        assert option.name in result.stdout and f"{option.group}=" in result.stdout
    assert all(s.key in result.stdout for s in read_catalogue()[0].settings)


def test_help_of_a_group_and_of_the_settings() -> None:
    assert "loss.gamma=2.0" in format_help(["loss"]) and "plain cross-entropy" in format_help(["loss"])
    assert "_target_" not in format_help(["loss"])
    assert "epochs=20" in format_help(["settings"])
    assert format_help(["los"]).endswith("did you mean loss?")
