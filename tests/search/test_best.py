"""best.yaml: the experiment file of the best trial."""

from pathlib import Path

from omegaconf import OmegaConf

from aimonk.search.best import format_experiment, write_best

OVERRIDES = [
    "loss=focal",
    "loss.gamma=1.5",
    "data.images='a, b é'",
    "data.attributes=[hat,scarf]",
    "epochs=3",
    "resume=outputs/x",
    "hydra.verbose=true",
]


def test_groups_are_overridden_and_settings_nested(tmp_path: Path) -> None:
    text = format_experiment(OVERRIDES, ["loss", "data"], ["trial 3"])
    assert text.startswith("# @package _global_\n# trial 3\ndefaults:\n")
    (tmp_path / "best.yaml").write_text(text)
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "best.yaml")) == {
        "defaults": [{"override /loss": "focal"}],
        "loss": {"gamma": 1.5},
        "data": {"images": "a, b é", "attributes": ["hat", "scarf"]},
        "epochs": 3,
    }


def test_search_without_a_group_has_no_defaults() -> None:
    assert "defaults" not in format_experiment(["epochs=3"], ["loss"], [])


def test_file_is_where_config_dir_finds_it(tmp_path: Path) -> None:
    write_best(tmp_path, OVERRIDES, ["loss"], "trial 3")
    assert (tmp_path / "best.yaml").read_bytes() == (tmp_path / "experiment/best.yaml").read_bytes()
    assert f"# python run.py --config-dir {tmp_path} experiment=best" in (tmp_path / "best.yaml").read_text()
